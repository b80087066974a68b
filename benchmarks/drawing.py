"""How long hard replies keep the page from doing anything else: the longest task of Chromium's main thread for each.

`python -m benchmarks.drawing` takes some five minutes: each reply of `tests/page_corpus.py` comes in ten pieces. It
shows the worst, and ends with status 1 if one took more than a second.
"""

import sys

from playwright.sync_api import sync_playwright

from benchmarks.report import describe_machine, progress, table
from hfdemo.page.page import launch
from tests.conftest import free_port
from tests.e2e.conftest import ChatPage, launch_chromium
from tests.fakes import ScriptedEngine, scripted_page
from tests.page_corpus import CORPUS, LONGEST_TASK

PIECES = 10
PAUSE_S = 0.1
SETTLED_MS = 1000
BAR_MS = 1000.0
WORST = 5


def main() -> int:
    """Measure, and show the worst."""
    engine, port = ScriptedEngine(), free_port()
    page = scripted_page(engine)
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright, "--disable-gpu")
        chat = ChatPage(browser.new_page())
        chat.open(f"http://127.0.0.1:{port}")
        chat.page.evaluate(LONGEST_TASK)
        took = [(longest_task_ms(chat, engine, text), kind, size) for (kind, size), text in CORPUS.items()]
        version = browser.version
        browser.close()
    page.close()
    worst = sorted(took, reverse=True)
    rows = [[f"{kind}, {size:,} bytes", f"{ms:,.0f}"] for ms, kind, size in worst[:WORST]]
    progress(f"\n{table([f'The worst {WORST} of {len(took)} replies', 'Longest task, ms'], rows)}")
    progress(f"\n{describe_machine(f'Chromium {version}')}")
    return int(worst[0][0] > BAR_MS)


def longest_task_ms(chat: ChatPage, engine: ScriptedEngine, text: str) -> float:
    """Let a reply come in a new chat."""
    chat.new_chat.click()
    chat.starters.first.wait_for()
    chat.page.wait_for_timeout(SETTLED_MS)
    chat.page.evaluate("window.longest = 0")
    step = -(-len(text) // PIECES)
    engine.enqueue(*[part for at in range(0, len(text), step) for part in (text[at : at + step], PAUSE_S)])
    chat.send("show")
    chat.wait_for_reply()
    chat.page.wait_for_timeout(SETTLED_MS)
    longest_ms = float(chat.page.evaluate("window.longest"))
    progress(f"{longest_ms:6.0f} ms  {len(text):7,}  {text[:40]!r}")
    return longest_ms


if __name__ == "__main__":
    sys.exit(main())
