"""axe finds nothing more than minor on any of the page's faces: empty, with a conversation, with open settings."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from hfdemo.engines.protocol import Status
from tests.e2e.conftest import ChatPage

ANSWER = """Hello **bold** `code` [link](https://example.org)

```python
x = 1
```

| a | b |
|---|---|
| 1 | 2 |

$x^2$"""


def found(chat: ChatPage) -> list[Any]:
    rules = Axe().run(chat.page).response["violations"]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in rules if rule["impact"] != "minor"]


@pytest.mark.parametrize(
    ("locale", "width", "scheme"), [("en-US", 1280, "light"), ("ko-KR", 390, "dark"), ("ko-KR", 390, "light")]
)
def test_axe_finds_nothing_that_is_more_than_minor(scripted, browser: Browser, locale, width, scheme):
    viewport = {"width": width, "height": 844}
    # The page's own policy forbids what a test brings into it.
    context = browser.new_context(locale=locale, viewport=viewport, color_scheme=scheme, bypass_csp=True)
    chat = ChatPage(context.new_page())
    scripted.engine.now = Status("ready", model="base", base_model=True)
    chat.open(scripted.url)
    assert found(chat) == []
    scripted.engine.enqueue("<think>Hm.</think>", ANSWER)
    chat.send("hi")
    chat.wait_for_reply()
    chat.box.fill(" ")
    chat.box.press("Enter")
    assert found(chat) == []
    chat.page.locator("#open-settings").click()
    expect(chat.page.locator("#settings")).to_be_in_viewport()
    chat.page.wait_for_timeout(500)
    assert found(chat) == []
    context.close()
