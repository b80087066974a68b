"""hfdemo's page with an engine that says when it hands over each piece, in a process of its own.

A message that is a number is answered with so many words at once, and then with some pieces one by one, each of which
holds the time when it was handed over, and the computing time that this process had used by then. Other messages are
answered with a few words.
"""

import sys
import time
from collections.abc import Generator
from threading import Event

from hfdemo.chat.UNKNOWN import FinishedReply

from benchmarks.prompts import TEXT
from hfdemo.chat.reply import Delta
from hfdemo.chat.request import ChatRequest
from hfdemo.page.page import create_page, launch
from hfdemo.settings import Settings
from tests.fakes import RECEIPT, ScriptedEngine

PIECES = 20
PAUSE_S = 0.3
MARK = "@"


class TimedEngine(ScriptedEngine):
    """Answers as described above."""

    def stream(self, request: ChatRequest, stop: Event) -> Generator[Delta, None, None]:
        """Yield the reply."""
        asked = request.messages[-1].content
        text = _words(int(asked)) if asked.isdecimal() else _words(50)
        yield Delta(text, used_tokens=40)
        for _ in range(PIECES if asked.isdecimal() else 0):
            if stop.wait(PAUSE_S):
                return
            piece = f" {MARK}{time.time():.4f}/{time.process_time():.4f}"
            text += piece
            yield Delta(piece, used_tokens=40)
        self.last = FinishedReply(text, "", RECEIPT)
        yield Delta(used_tokens=40, receipt=RECEIPT)


def _words(count: int) -> str:
    """Return so many words, in paragraphs."""
    words = TEXT.split(" ")
    return " ".join((words * (count // len(words) + 1))[:count])


if __name__ == "__main__":
    launch(create_page(TimedEngine(), Settings()), server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
