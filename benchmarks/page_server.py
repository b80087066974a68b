"""hfdemo's page with an engine that says when it hands over each piece, in a process of its own.

A message that is a number is answered with so many words at once, and then with some pieces one by one, each of which
holds the time when it was handed over, and the computing time that this process had used by then. Other messages are
answered with a few words.
"""

import sys
import time
from collections.abc import Iterator

from benchmarks.prompts import TEXT
from hfdemo.chat.reply import Delta, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.page.page import launch
from tests.fakes import RECEIPT, ScriptedEngine, scripted_page

PIECES = 20
PAUSE_S = 0.3
MARK = "@"


class TimedEngine(ScriptedEngine):
    """Answers as described above."""

    def stream(self, request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        """Yield the reply."""
        asked = request.messages[-1].content
        yield Delta(_words(int(asked) if asked.isdecimal() else 50), used_tokens=40)
        for _ in range(PIECES if asked.isdecimal() else 0):
            if stop.wait(PAUSE_S):
                break
            yield Delta(f" {MARK}{time.time():.4f}/{time.process_time():.4f}", used_tokens=40)
        yield Delta(used_tokens=40, receipt=RECEIPT)


def _words(count: int) -> str:
    """Return so many words, in paragraphs."""
    words = TEXT.split(" ")
    return " ".join((words * (count // len(words) + 1))[:count])


if __name__ == "__main__":
    launch(scripted_page(TimedEngine()), server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
