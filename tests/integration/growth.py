"""`python -m tests.integration.growth COUNT` prints by how many bytes turns and sessions let a page's process grow.

The page has a scripted engine and is asked by another process, so that what is counted is the page's.
"""

import json
import subprocess
import sys
import time

import psutil

from hfdemo.compute.allocator import give_memory_back
from hfdemo.page.page import launch
from tests.conftest import free_port
from tests.fakes import ScriptedEngine, scripted_page

WARM_UP = 200

CALLER = """
import sys, httpx
url, count, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with httpx.Client(base_url=f"{url}/gradio_api", timeout=60) as client:
    parameters = client.get("/info").json()["named_endpoints"]["/chat"]["parameters"]
    others = [parameter["parameter_default"] for parameter in parameters[1:]]
    for turn in range(count):
        session = "one" if kind == "turns" else f"{kind}-{turn}"
        call = {"data": [f"turn {turn}", *others], "session_hash": session}
        event = client.post("/call/chat", json=call).raise_for_status().json()["event_id"]
        assert "event: complete" in client.get(f"/call/chat/{event}").text
"""


class Forgetful(ScriptedEngine):
    """Answers, and remembers nothing of what it was asked."""

    def stream(self, request, stop):
        yield from super().stream(request, stop)
        self.requests.clear()
        self.stopped.clear()


def grows_by(url: str, count: int, kind: str) -> int:
    """Return by how many bytes this process grows with so many more turns."""
    call = [sys.executable, "-c", CALLER, url, str(count), kind]
    before = settled()
    subprocess.run(call, check=True)
    return settled() - before


def settled() -> int:
    """Return the resident bytes after what is garbage has gone."""
    time.sleep(1)
    give_memory_back()
    return psutil.Process().memory_info().rss


def main() -> None:
    """Measure."""
    count, port = int(sys.argv[1]), free_port()
    launch(scripted_page(Forgetful()), prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    url = f"http://127.0.0.1:{port}"
    for kind in ("turns", "warm"):
        grows_by(url, WARM_UP, kind)
    print(json.dumps([grows_by(url, count, "turns"), grows_by(url, count, "sessions")]))  # noqa: T201  # whoever runs it reads it


if __name__ == "__main__":
    main()
