"""Serves the scheduler on this machine, and says what the environment of a Space with ZeroGPU is."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn

from tests.conftest import wait_until
from tests.zerogpu.scheduler import Scheduler

ON_CPU = Path(__file__).parent / "on_cpu"


@contextmanager
def serve(scheduler: Scheduler, folder: Path) -> Iterator[dict[str, str]]:
    """Serve a scheduler while the context lasts, and give the environment of a Space that asks it.

    Args:
        scheduler: lends.
        folder: where `spaces` may put the weights meanwhile.
    """
    groups = folder / "cgroup"
    groups.write_text("0::/space\n", "utf-8")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(scheduler.app(), lifespan="off", log_config=None))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="scheduler", daemon=True)
        thread.start()
        wait_until(lambda: server.started, 10, "the scheduler")
        try:
            yield {
                "SPACES_ZERO_GPU": "true",
                "SPACE_ID": "someone/chat",
                "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
                "ZEROGPU_OFFLOAD_DIR": str(folder / "tensors"),
                "ZEROGPU_MMAP_AUTOPRUNE_PATTERN": str(folder / "nothing"),  # else it deletes files of models
                "ZEROGPU_PROC_SELF_CGROUP_PATH": str(groups),
                "PYTHONPATH": str(ON_CPU),
            }
        finally:
            server.should_exit = True
            thread.join(10)
