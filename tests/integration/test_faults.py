"""Each call in the path of a turn fails once: the visitor is told, nothing is lost, and the next turn is right.

Source of the method: https://www.sqlite.org/testing.html, "Anomaly Testing".
"""

import re
import threading
from collections.abc import Callable

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from hfdemo import answering
from hfdemo.chat.prompt import PromptBuilder
from hfdemo.decoding import detokenizer, prefix_cache, running, streamer
from hfdemo.page import program_door
from hfdemo.words import say
from tests.conftest import wait_until
from tests.integration.conftest import Served

KIND = {say("error.generation"), say("error.unexpected"), say("error.out_of_memory")}


class Fault(Exception):
    """Its text must never be seen: hf_ABCDEFGHIJKLMNOP."""


def returning(function: Callable, at_call: int) -> Callable:
    """Return what stands for `generate` and writes nothing at its n-th call: beam search does so."""
    calls = 0

    def wrapped(input_ids, **more):
        nonlocal calls
        calls += 1
        return input_ids if calls == at_call else function(input_ids, **more)

    return wrapped


def failing(function: Callable, at_call: int, error: type[BaseException] = Fault) -> Callable:
    """Return `function`, raising at its n-th call only."""
    calls = 0

    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == at_call:
            raise error("hf_ABCDEFGHIJKLMNOP")
        return function(*args, **kwargs)

    return wrapped


EVERYWHERE: dict[str, Callable] = {
    # name: from the loaded model to the object, the attribute, and which call of it fails
    "read the options": lambda model: (program_door, "read_page_options", 1),
    "begin the reply": lambda model: (answering, "in_thread", 1),
    "template": lambda model: (model.prompts.template, "render", 1),
    "tokenise": lambda model: (model.prompts, "_encode_text", 1),
    "build the prompt": lambda model: (PromptBuilder, "build", 1),
    "make the streamer": lambda model: (running, "make_streamer", 1),
    "make the cache": lambda model: (running, "usable_cache", 1),
    "choose a token": lambda model: (running.RunningReply, "choose", 4),
    "decode": lambda model: (detokenizer.Detokenizer, "_decode", 4),
    "put a token": lambda model: (streamer.TokenStreamer, "add", 4),
    "end": lambda model: (streamer.TokenStreamer, "complete", 1),
    "keep the reply": lambda model: (prefix_cache.PrefixCache, "put", 1),
    "yield": lambda model: (program_door, "Client", 2),
}

WITH_STEP: dict[str, Callable] = {
    "read the prompt": lambda model: (type(model.step), "read", 1),
    "layer": lambda model: (model.layers[-1].after, "forward", 1),
    "first step": lambda model: (type(model.step), "__call__", 1),
    "fifth step": lambda model: (type(model.step), "__call__", 5),
}

ON_DETOUR: dict[str, Callable] = {
    "its forward": lambda model: (model.pipeline.model, "forward", 1),
    "its last layer": lambda model: (model.layers[-1], "forward", 1),
    "preprocess": lambda model: (type(model.pipeline), "preprocess", 1),
    "generate": lambda model: (model.pipeline.model, "generate", 1),
    "generate writes nothing": lambda model: (model.pipeline.model, "generate", 1),
    "fifth token": lambda model: (model.pipeline.model, "forward", 5),
}


FAULTS: dict[str, Callable] = {"generate writes nothing": returning}
"""What happens in a place, where it is no error that is raised."""


@pytest.fixture(scope="module")
def client(served):
    opened = Client(served.url, verbose=False)
    yield opened
    opened.close()


def ask(client: Client, anew: bool = True) -> str:
    if anew:
        client.reset_session()
    return client.predict(message="What is the capital of Korea?", temperature=0, max_new_tokens=24, api_name="/chat")


def threads_of_turns() -> list[str]:
    """Return the names of the threads that wait for replies; Gradio and its client have others."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reply")]


STEPPED = ("single", "batched")


def assert_nothing_left(served: Served) -> None:
    wait_until(lambda: served.local.answering._answers == [], 5)
    wait_until(lambda: not served.local.engine.in_use(), 5)


def right_reply(client: Client) -> str:
    """Return what a turn is answered with: random weights, but the same each time."""
    reply = ask(client)
    assert len(reply) > 24, "more than a letter a token"
    return reply


# `served` has a parameter of its own: together with the place, it would be made anew for every place.
@pytest.mark.parametrize("place", EVERYWHERE | WITH_STEP)
@pytest.mark.parametrize("served", STEPPED, indirect=True)
def test_any_call_of_a_turn_may_fail(served, client, monkeypatch, caplog, place):
    fail_once(place, served, client, monkeypatch, caplog)


@pytest.mark.parametrize("place", EVERYWHERE | ON_DETOUR)
@pytest.mark.parametrize("served", ["detour"], indirect=True)
def test_any_call_of_a_turn_on_the_detour_may_fail(served, client, monkeypatch, caplog, place):
    fail_once(place, served, client, monkeypatch, caplog)


def fail_once(place: str, served: Served, client: Client, monkeypatch, caplog) -> None:
    right = right_reply(client)
    target, attribute, at_call = (EVERYWHERE | WITH_STEP | ON_DETOUR)[place](served.local.model)
    with monkeypatch.context() as patch:
        patch.setattr(target, attribute, FAULTS.get(place, failing)(getattr(target, attribute), at_call))
        with pytest.raises(AppError) as caught:
            ask(client)
    assert str(caught.value) in KIND
    assert "ABCDEFGH" not in caplog.text
    assert_nothing_left(served)
    assert ask(client) == right
    wait_until(lambda: threads_of_turns() == [], 5)


@pytest.mark.parametrize("served", STEPPED, indirect=True)
def test_a_message_whose_reply_failed_stands_in_the_conversation_once(served, client, monkeypatch):
    right = right_reply(client)
    client.reset_session()
    step = type(served.local.model.step)
    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(AppError):
            patch.setattr(step, "read", failing(step.read, 1))
            ask(client, anew=False)
        assert client.predict(api_name="/receipt") is None
    assert ask(client, anew=False) == right


@pytest.mark.parametrize("served", STEPPED, indirect=True)
def test_a_hundred_failures_in_a_row_leave_nothing_behind(served, client, monkeypatch):
    right = right_reply(client)
    step = type(served.local.model.step)
    write = step.__call__
    with monkeypatch.context() as patch:
        for at_call in range(100):
            patch.setattr(step, "__call__", failing(write, 1 + at_call % 7))
            with pytest.raises(AppError, match=re.escape(say("error.generation"))):
                ask(client)
    assert_nothing_left(served)
    assert ask(client) == right
    wait_until(lambda: threads_of_turns() == [], 5)


@pytest.mark.parametrize("served", STEPPED, indirect=True)
def test_out_of_memory_is_said_and_survived(served, client, monkeypatch):
    import torch

    right = right_reply(client)
    step = type(served.local.model.step)
    with monkeypatch.context() as patch:
        patch.setattr(step, "__call__", failing(step.__call__, 2, torch.OutOfMemoryError))
        with pytest.raises(AppError, match=re.escape(say("error.out_of_memory"))):
            ask(client)
    assert ask(client) == right


@pytest.mark.parametrize("where", ["prefill", "decode"])
@pytest.mark.parametrize("served", [*STEPPED, "detour"], indirect=True)
def test_the_turn_after_one_without_memory_works_each_time(served, client, monkeypatch, where):
    import torch

    right = right_reply(client)
    model = served.local.model
    if where == "prefill":
        target, attribute, at_call = (
            (type(model.step), "read", 1) if model.step else (model.pipeline.model, "forward", 1)
        )
    else:
        target, attribute, at_call = running.RunningReply, "choose", 2
    for _ in range(5):
        with monkeypatch.context() as patch:
            patch.setattr(target, attribute, failing(getattr(target, attribute), at_call, torch.OutOfMemoryError))
            with pytest.raises(AppError, match=re.escape(say("error.out_of_memory"))):
                ask(client)
        assert ask(client) == right
    assert_nothing_left(served)
