"""Retake the screenshots of the READMEs and the tutorial: `python -m docs.screenshots`.

It has the same requirements as the tests, and a Korean font. What is English comes from the embedded model with greedy
decoding, at its real speed. The embedded model speaks no Korean, so the Korean answer is written here, and its receipt
names no speed.
"""

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, expect, sync_playwright

from hfdemo.engines.protocol import Status
from hfdemo.models.embedded import ensure_embedded_model
from hfdemo.page.page import launch
from tests.conftest import free_port, start_app
from tests.e2e.conftest import ChatPage, launch_chromium
from tests.fakes import RECEIPT, ScriptedEngine, scripted_page

IMAGES = Path(__file__).parent / "images"
QUESTION = "Give me three tips for a good night's sleep."
SYSTEM_PROMPT = "You are a travel guide. Keep it short."
TRAVEL_QUESTION = "What is the capital of Korea?"
KOREAN_QUESTION = "부산에서 하루를 보낸다면 어디에 가면 좋을까?"
KOREAN_ANSWER = """바다와 시장, 골목을 하루에 다 볼 수 있는 길을 골랐습니다.

| 시간 | 장소 | 할 일 |
|---|---|---|
| 오전 | 해운대 | 바닷가 산책, 동백섬 한 바퀴 |
| 낮 | 자갈치시장 | 회와 생선구이(1인 15,000~30,000원) |
| 오후 | 감천문화마을 | 골목길 구경, 전망대 |
| 저녁 | 광안리 | 광안대교 야경 |

**지하철**과 마을버스로 네 곳을 모두 다닐 수 있습니다.
"""
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 800}


def main() -> None:
    """Start the chat, take all pictures, and stop it."""
    model = ensure_embedded_model(lambda stage, done, total: None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)  # so that no picture shows a path of this machine
        (home / model.name).symlink_to(model)
        app = start_app(home, HOME=folder, HFDEMO_MODEL=f"~/{model.name}")
        try:
            app.wait_for_log("CPU", timeout_s=300)
            browser = launch_chromium(playwright)
            for name, size in (("chat", WIDE), ("phone", NARROW)):
                _save(_answered_chat(browser, app.url, size), f"{name}-en.png")
            for language in ("en", "ko"):
                for name, picture in _tutorial(browser, app.url, language).items():
                    _save(picture, f"{name}-{language}.png")
            _korean_chats(browser)
            browser.close()
        finally:
            app.stop()


def _answered_chat(browser: Browser, url: str, size: ViewportSize) -> bytes:
    """Show one answered message, in English; a wide page has the settings beside it."""
    chat = _open(browser, url, "en-US", "light", size)
    chat.set_option("temperature", 0)
    if size is NARROW:
        chat.page.locator("#close-settings").click()
    _ask(chat, QUESTION)
    return _picture(chat)


def _korean_chats(browser: Browser) -> None:
    """Show an answer that was written beforehand, in Korean, wide and with the dark theme of a phone."""
    engine, port = ScriptedEngine(), free_port()
    engine.now = Status("ready", model="미리 써 둔 답변", device="예시", context_limit=4096)
    engine.receipt = replace(RECEIPT, new_tokens=168, tokens_per_s=0.0)
    page = scripted_page(engine)
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    for name, size, scheme in (("chat", WIDE, "light"), ("phone", NARROW, "dark")):
        chat = _open(browser, f"http://127.0.0.1:{port}", "ko-KR", scheme, size)
        engine.enqueue(KOREAN_ANSWER)
        _ask(chat, KOREAN_QUESTION)
        _save(_picture(chat), f"{name}-ko.png")
    page.close()


def _open(browser: Browser, url: str, locale: str, scheme: Literal["light", "dark"], size: ViewportSize) -> ChatPage:
    narrow = size is NARROW
    chat = ChatPage(
        browser.new_page(locale=locale, color_scheme=scheme, viewport=size, is_mobile=narrow, has_touch=narrow)
    )
    chat.open(url)
    return chat


def _ask(chat: ChatPage, question: str) -> None:
    chat.box.fill(question)
    chat.send_button.click()
    expect(chat.box).to_have_value("")
    chat.wait_for_reply()


def _tutorial(browser: Browser, url: str, language: str) -> dict[str, bytes]:
    """Return the tutorial's pictures by name: a chat with a system prompt, then its exact prompt."""
    page = browser.new_page(locale=language, color_scheme="light", viewport={"width": 1280, "height": 800})
    chat = ChatPage(page)
    chat.open(url)
    chat.open_settings()
    page.locator("#system-prompt textarea").fill(SYSTEM_PROMPT)
    for option, value in (("temperature", 0), ("top-p", 0.9), ("max-new-tokens", 256)):
        chat.set_option(option, value)
    chat.send(TRAVEL_QUESTION)
    chat.wait_for_reply()
    pictures = {"tutorial": _picture(chat)}
    page.locator("#show-prompt").click()
    page.locator("#shown-prompt").scroll_into_view_if_needed()
    pictures["prompt"] = _picture(chat)
    return pictures


def _picture(chat: ChatPage) -> bytes:
    chat.page.mouse.move(0, 0)
    chat.page.wait_for_timeout(1000)  # until animations have ended
    if chat.problems:
        raise RuntimeError(f"the page reports: {chat.problems}")
    return chat.page.screenshot(animations="disabled", caret="hide")


def _save(picture: bytes, name: str) -> None:
    """Write a picture with 256 colours, which takes a third of the bytes."""
    IMAGES.mkdir(exist_ok=True)
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
