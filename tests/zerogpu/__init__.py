"""A stand-in for what a Space with ZeroGPU has around it: the scheduler that lends GPUs, and the GPUs.

The package `spaces` runs as it is, with its real forks and its real emulation of CUDA. Source of the protocol:
spaces 0.51, `zero/api.py`, `zero/client.py` and `zero/wrappers.py`; there is no documentation of it.
"""

from tests.zerogpu.scheduler import Loan, Refusal, Scheduler
from tests.zerogpu.server import serve

__all__ = ["Loan", "Refusal", "Scheduler", "serve"]
