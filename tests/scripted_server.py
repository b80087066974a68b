"""Serves a page whose engine counts, in a process that can be killed: `python -m tests.scripted_server PORT WAITS`.

A message that is a number is answered with so many words, ten a second; any other with how many messages there are.
While there is a file WAITS, no words come.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hfdemo.chat.reply import Delta, StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.page.page import launch
from tests.fakes import RECEIPT, ScriptedEngine, scripted_page


class CountingEngine(ScriptedEngine):
    """Answers a number with so many words.

    Args:
        waits: while there is this file, it writes none.
    """

    def __init__(self, waits: Path) -> None:
        super().__init__()
        self._waits = waits

    def stream(self, request: ChatRequest, stop: StopSignal) -> Iterator[Delta]:
        self.requests.append(request)
        asked = request.messages[-1].content
        begun = request.reply_start.split()
        words = int(asked) if asked.isdigit() else 0
        if not asked.isdigit():
            yield Delta(f"{len(request.messages)} messages")
        if begun:
            yield Delta(request.reply_start)
        for number in range(len(begun), words):
            while self._waits.exists() and not stop.wait(0.1):
                yield Delta()
            if stop.is_set():
                break
            yield Delta(f"w{number} ", used_tokens=40 + number)
            time.sleep(0.1)
        reason = stop.reason if stop.is_set() else "end_of_turn"
        yield Delta(used_tokens=40, receipt=replace(RECEIPT, finish_reason=reason))


if __name__ == "__main__":
    launch(
        scripted_page(CountingEngine(Path(sys.argv[2]))),
        server_name="127.0.0.1",
        server_port=int(sys.argv[1]),
        quiet=True,
    )
