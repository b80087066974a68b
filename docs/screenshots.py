"""Retake the screenshots of the README and the tutorial: `python -m docs.screenshots`.

It has the same requirements as the tests. The chat runs with the embedded model and greedy decoding, so the same page
always gives the same pictures.
"""

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from hfdemo.models.embedded import ensure_embedded_model
from tests.conftest import start_app
from tests.e2e.conftest import ChatPage, launch_chromium

IMAGES = Path(__file__).parent / "images"
QUESTION = "Give me three tips for a good night's sleep."
SYSTEM_PROMPT = "You are a travel guide. Keep it short."
TRAVEL_QUESTION = "What is the capital of France?"


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
            _save(_answered_chat(browser, app.url), "chat-en.png")
            _save(_new_chat_on_a_phone(browser, app.url), "chat-ko.png")
            for language in ("en", "ko"):
                for name, picture in _tutorial(browser, app.url, language).items():
                    _save(picture, f"{name}-{language}.png")
            browser.close()
        finally:
            app.stop()


def _answered_chat(browser: Browser, url: str) -> bytes:
    """Show one answered message and the settings, in English, with the light theme."""
    page = browser.new_page(locale="en-US", color_scheme="light", viewport={"width": 1280, "height": 800})
    chat = ChatPage(page)
    chat.open(url)
    chat.set_option("temperature", 0)
    chat.send(QUESTION)
    chat.wait_for_reply()
    return _picture(chat)


def _new_chat_on_a_phone(browser: Browser, url: str) -> bytes:
    """Show the starters, in Korean, with the dark theme, at phone width."""
    page = browser.new_page(
        locale="ko-KR", color_scheme="dark", viewport={"width": 390, "height": 844}, device_scale_factor=2
    )
    chat = ChatPage(page)
    chat.open(url)
    return _picture(chat)


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
