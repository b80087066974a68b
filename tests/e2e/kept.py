"""What a page keeps of a chat with the model that counts, `w0` and on."""

from playwright.sync_api import expect

from tests.e2e.conftest import ChatPage

WORDS = [f"w{number}" for number in range(200)]
KEPT_CHATS = "#chats button:first-child"
STORED = "[...Object.keys(localStorage), ...Object.keys(sessionStorage)]"


def turns(chat: ChatPage) -> list[dict]:
    chat.page.wait_for_function("!hfdemo.isReplying()")
    return chat.page.evaluate("hfdemo.path()")


def replies(chat: ChatPage) -> list[list[str]]:
    return [turn["content"].split() for turn in turns(chat) if turn["role"] == "assistant"]


def wait_for_words(chat: ChatPage, count: int) -> None:
    expect(chat.replies.last).to_contain_text(f"w{count}")


def new_tab(chat: ChatPage, replies_there: int) -> ChatPage:
    tab = ChatPage(chat.page.context.new_page())
    tab.page.goto(chat.page.url)
    expect(tab.replies).to_have_count(replies_there)
    return tab


def ask(chat: ChatPage, text: str) -> None:
    chat.send(text)
    chat.wait_for_reply()
    chat.page.wait_for_timeout(400)
