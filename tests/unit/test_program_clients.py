"""Programs' conversations are kept for a while, fairly, and one that was forgotten is said to be."""

import pytest

from hfdemo.chat.conversation import Conversation
from hfdemo.errors import InvalidInput
from hfdemo.page.program_clients import KEPT_S, MAX_FORGOTTEN, Client, ProgramClients


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def client(text: str = "Hi") -> Client:
    return Client(Conversation().add("user", text), "key")


def text_of(kept: Client | None) -> str:
    assert kept is not None
    return kept.conversation.path[-1].content


def test_a_program_finds_its_own_conversation_and_a_new_one_none():
    clients = ProgramClients()
    clients.keep("a", "here", client("one"))
    clients.keep("b", "here", client("two"))
    clients.keep("a", "here", client("three"))
    assert (text_of(clients.find("a")), text_of(clients.find("b")), clients.find("c")) == ("three", "two", None)


def test_an_unused_conversation_is_forgotten_and_said_to_be_once():
    clock = Clock()
    clients = ProgramClients(clock)
    clients.keep("a", "here", client())
    clock.now = KEPT_S
    assert clients.find("a") is not None
    clock.now = KEPT_S + 1
    with pytest.raises(InvalidInput, match="The server no longer has this conversation") as gone:
        clients.find("a")
    assert gone.value.key == "conversation_forgotten"
    assert clients.find("a") is None


def test_whoever_brings_most_gives_way_and_not_the_others():
    clients = ProgramClients(max_chars=1000, max_clients=100)
    clients.keep("quiet", "there", client("x" * 100))
    for n in range(50):
        clients.keep(f"loud{n}", "here", client("x" * 100))
    assert text_of(clients.find("quiet")) == "x" * 100
    assert text_of(clients.find("loud49")) == "x" * 100
    with pytest.raises(InvalidInput):
        clients.find("loud0")


def test_many_small_conversations_of_one_address_do_not_push_out_anothers():
    clients = ProgramClients(max_chars=10**9, max_clients=10)
    clients.keep("quiet", "there", client("x" * 10_000))
    for n in range(100):
        clients.keep(f"loud{n}", "here", client("x"))
    assert clients.find("quiet") is not None
    assert sum(clients._kept[name].address == "here" for name in clients._kept) == 9


def test_one_conversation_larger_than_all_the_room_is_kept_until_the_next():
    clients = ProgramClients(max_chars=10)
    clients.keep("a", "here", client("x" * 100))
    assert clients.find("a") is not None
    clients.keep("b", "here", client("x"))
    assert clients.find("b") is not None
    with pytest.raises(InvalidInput):
        clients.find("a")


def test_the_room_that_is_taken_is_known():
    clients = ProgramClients(max_chars=1000)
    for n in (300, 200, 400):
        clients.keep("a", "here", client("x" * n))
    assert clients._chars == 400


def test_the_names_of_the_forgotten_are_bounded():
    clients = ProgramClients(max_clients=1)
    for n in range(MAX_FORGOTTEN + 20):
        clients.keep(str(n), "here", client())
    assert len(clients._forgotten) == MAX_FORGOTTEN
