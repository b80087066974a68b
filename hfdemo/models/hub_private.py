"""The names of huggingface_hub that its documentation doesn't promise. Nothing else uses such names.

`tests/unit/test_private_names.py` fails first when one of them changes.
"""

# The folders and addresses that HF_* variables set. Read them when they are used: tests change them.
from huggingface_hub import constants
from huggingface_hub.file_download import (
    are_symlinks_supported,  # decides where the cache keeps a file
    http_get,  # the only download that can start in the middle of a file
    repo_folder_name,  # the name of a model's folder in the cache
)
from huggingface_hub.utils import (
    WeakFileLock,  # makes two programs wait for each other that download the same file
    build_hf_headers,  # the access token, which `http_get` doesn't send by itself
    parse_ratelimit_headers,  # how long the Hub wants us to wait
)

__all__ = [
    "WeakFileLock",
    "are_symlinks_supported",
    "build_hf_headers",
    "constants",
    "http_get",
    "parse_ratelimit_headers",
    "repo_folder_name",
    "write_in_chunks_of",
]


def write_in_chunks_of(count: int) -> None:
    """Let downloads write to the disk after every `count` bytes; no argument sets this."""
    constants.DOWNLOAD_CHUNK_SIZE = count
