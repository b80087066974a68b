"""Whatever somebody calls a Space, the Hub takes its name, and the same title has the same name."""

import unicodedata

import pytest
from huggingface_hub.utils import validate_repo_id
from hypothesis import given
from hypothesis import strategies as st

from hfdemo.errors import PublishError
from hfdemo.publish.name import DERIVED_CHARS, SpaceName, is_legal, make_name, read_name


@pytest.mark.parametrize(
    ("text", "title", "expected"),
    [
        ("my-chat", None, SpaceName(None, "my-chat", None)),
        ("My_Chat.2", None, SpaceName(None, "My_Chat.2", None)),
        ("team/my-chat", None, SpaceName("team", "my-chat", None)),
        (" my-chat ", None, SpaceName(None, "my-chat", None)),
        ("my-chat", "  내   챗봇 ", SpaceName(None, "my-chat", "내 챗봇")),
        ("채팅 데모", None, SpaceName(None, "chaeting-demo", "채팅 데모")),
        ("채팅 데모", "Chat", SpaceName(None, "chaeting-demo", "Chat")),
        ("team/채팅 데모", None, SpaceName("team", "chaeting-demo", "채팅 데모")),
        ("나의 팀/채팅", None, SpaceName(None, "naui-tim-chaeting", "나의 팀/채팅")),
        (unicodedata.normalize("NFD", "채팅"), None, SpaceName(None, "chaeting", "채팅")),
        ("My chat!", None, SpaceName(None, "my-chat", "My chat!")),
        ("Café Ødegård", None, SpaceName(None, "cafe-degard-5e5193", "Café Ødegård")),
        ("a--b", None, SpaceName(None, "a-b", "a--b")),
        ("chat.git", None, SpaceName(None, "chat-git", "chat.git")),
        ("two\nlines", None, SpaceName(None, "two-lines", "two lines")),
    ],
)
def test_a_name_is_taken_or_made(text, title, expected):
    assert read_name(text, title) == expected


@pytest.mark.parametrize("text", ["", " ", "/", "...", "team/", "--", "\u200b"])
def test_what_has_no_letter_and_no_digit_names_nothing(text):
    with pytest.raises(PublishError) as caught:
        read_name(text)
    assert caught.value.key == "bad_space_name"


@pytest.mark.parametrize(
    ("syllables", "spelled"),
    [("한국어", "hangukeo"), ("안녕", "annyeong"), ("뷁", "bwelk"), ("읽기", "ilkgi"), ("꽃", "kkot"), ("힣", "hit")],
)
def test_hangul_is_spelled(syllables, spelled):
    assert make_name(syllables) == spelled


def test_titles_that_lose_letters_are_told_apart():
    names = {make_name(title) for title in ("チャット", "聊天", "💬", "🤖", "chat", "聊天 chat", "天聊 chat")}
    assert len(names) == 7
    assert make_name("聊天") == make_name("聊天")
    assert make_name("聊天").startswith("chat-")
    assert make_name("聊天 demo").startswith("demo-")


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/spaces/me/my-chat",
        "https://huggingface.co/spaces/me/my-chat/",
        "huggingface.co/spaces/me/my-chat",
        "spaces/me/my-chat",
    ],
)
def test_the_address_of_a_space_names_it(address):
    assert read_name(address) == SpaceName("me", "my-chat", None)


def test_long_titles_become_short_names_that_differ():
    first, second = make_name("채팅 " * 50 + "하나"), make_name("채팅 " * 50 + "둘")
    assert first != second
    assert len(first) <= DERIVED_CHARS + 7


@given(st.text(max_size=80))
def test_the_hub_takes_every_name(text):
    try:
        name = read_name(text)
    except PublishError:
        return
    validate_repo_id(f"{name.namespace or 'someone'}/{name.name}")
    assert is_legal(name.name)
    assert read_name(text) == name
