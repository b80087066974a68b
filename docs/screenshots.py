"""Take the README's screenshots anew: `python -m docs.screenshots`, where the tests' requirements are installed.

The chat runs with the embedded model, greedy, so that the same page gives the same pictures.
"""

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from hfdemo.models.embedded import ensure_embedded_model
from tests.conftest import start_app
from tests.e2e.conftest import ChatPage, find_chromium

IMAGES = Path(__file__).parent / "images"
QUESTION = "Give me three tips for a good night's sleep."


def main() -> None:
    """Start the chat, take both pictures, and end it."""
    model = ensure_embedded_model(lambda stage, done, total: None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        app = start_app(Path(folder), HFDEMO_MODEL=str(model))
        try:
            app.wait_for_log("CPU")
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
            _save(_answered_chat(browser, app.url), "chat-en.png")
            _save(_new_chat_on_a_phone(browser, app.url), "chat-ko.png")
            browser.close()
        finally:
            app.stop()


def _answered_chat(browser: Browser, url: str) -> bytes:
    """Show one answered message and the settings, in English, light."""
    page = browser.new_page(locale="en-US", color_scheme="light", viewport={"width": 1280, "height": 800})
    chat = ChatPage(page)
    chat.open(url)
    chat.set_option("temperature", 0)
    chat.send(QUESTION)
    chat.wait_for_reply()
    return _picture(chat)


def _new_chat_on_a_phone(browser: Browser, url: str) -> bytes:
    """Show the starters, in Korean, dark, as wide as a phone."""
    page = browser.new_page(
        locale="ko-KR", color_scheme="dark", viewport={"width": 390, "height": 844}, device_scale_factor=2
    )
    chat = ChatPage(page)
    chat.open(url)
    return _picture(chat)


def _picture(chat: ChatPage) -> bytes:
    chat.page.mouse.move(0, 0)
    chat.page.wait_for_timeout(1000)  # what fades or slides has come to rest
    if chat.problems:
        raise RuntimeError(f"the page reports: {chat.problems}")
    return chat.page.screenshot(animations="disabled", caret="hide")


def _save(picture: bytes, name: str) -> None:
    """Write a picture with 256 colours, a third of the bytes."""
    IMAGES.mkdir(exist_ok=True)
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
