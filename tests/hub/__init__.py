"""A stand-in for the Hugging Face Hub: enough of its protocol to read models and to make Spaces.

What asks it is the unmodified client.

Source of the protocol: huggingface_hub 2.4, `hf_api.py`, `file_download.py` and `utils/_http.py`; the texts of the
refusals were recorded on the real Hub in October 2026.
"""

from tests.hub.accounts import (
    BAD_TOKEN,
    FINE_GRAINED_TOKEN,
    FINE_WRITE_TOKEN,
    GOOD_TOKEN,
    NOT_ASKED_TOKEN,
    PAYING_TOKEN,
    PENDING_TOKEN,
    READ_TOKEN,
    REJECTED_TOKEN,
    RESET_TOKEN,
)
from tests.hub.models import COMMIT, Model, git_hash
from tests.hub.refusals import refusal
from tests.hub.server import serve
from tests.hub.spaces import Space
from tests.hub.state import Hub

__all__ = [
    "BAD_TOKEN",
    "COMMIT",
    "FINE_GRAINED_TOKEN",
    "FINE_WRITE_TOKEN",
    "GOOD_TOKEN",
    "NOT_ASKED_TOKEN",
    "PAYING_TOKEN",
    "PENDING_TOKEN",
    "READ_TOKEN",
    "REJECTED_TOKEN",
    "RESET_TOKEN",
    "Hub",
    "Model",
    "Space",
    "git_hash",
    "refusal",
    "serve",
]
