"""Each call in the path of a turn fails once: the visitor is told, nothing is lost, and the next turn is right.

Source of the method: https://www.sqlite.org/testing.html, "Anomaly Testing".
"""

import threading
from collections.abc import Callable

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from hfdemo.chat.prompt import PromptBuilder
from hfdemo.decoding import streamer as streaming
from hfdemo.page import chat, reply
from hfdemo.words import say
from tests.conftest import wait_until

RIGHT = "The capital of France is Paris."

KIND = {say("error.generation"), say("error.unexpected"), say("error.out_of_memory")}


class Fault(Exception):
    """Its text must never be seen: hf_ABCDEFGHIJKLMNOP."""


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


PLACES: dict[str, Callable] = {
    # name: from the loaded model to the object, the attribute, and which call of it fails
    "template": lambda model: (model.prompts, "_render", 1),
    "tokenise": lambda model: (model.prompts, "_encode_text", 1),
    "build the prompt": lambda model: (PromptBuilder, "build", 1),
    "preprocess": lambda model: (type(model.pipeline), "preprocess", 1),
    "read the prompt": lambda model: (model.pipeline.model, "forward", 1),
    "layer": lambda model: (model.layers[7], "forward", 1),
    "first step": lambda model: (model.step, "_one", 1),
    "fifth step": lambda model: (model.step, "_one", 5),
    "decode": lambda model: (streaming.Detokenizer, "_decode", 4),
    "put a token": lambda model: (streaming.TokenStreamer, "add", 4),
    "end": lambda model: (streaming.TokenStreamer, "end", 1),
    "read the options": lambda model: (chat, "read_wishes", 1),
    "begin the reply": lambda model: (reply, "iterate_in_thread", 1),
    "yield": lambda model: (reply, "Reply", 2),
}


@pytest.fixture
def client(served):
    opened = Client(served.url, verbose=False)
    yield opened
    opened.close()


def ask(client: Client) -> str:
    client.reset_session()
    return client.predict(message="What is the capital of France?", temperature=0, max_new_tokens=24, api_name="/chat")


def threads_of_turns() -> list[str]:
    """Return the names of the threads that wait for replies; Gradio and its client have others."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reply")]


ENGINES = ("single", "batched")

CASES = [(engine, place) for engine in ENGINES for place in PLACES if (engine, place) != ("batched", "preprocess")]
"""The batched engine reads prompts without the pipeline."""


@pytest.mark.parametrize(("served", "place"), CASES, indirect=["served"])
def test_any_call_of_a_turn_may_fail(served, client, monkeypatch, caplog, place):
    assert ask(client) == RIGHT
    target, attribute, at_call = PLACES[place](served.engine._keeper.model)
    with monkeypatch.context() as patch:
        patch.setattr(target, attribute, failing(getattr(target, attribute), at_call))
        with pytest.raises(AppError) as caught:
            ask(client)
    assert str(caught.value) in KIND
    assert "ABCDEFGH" not in caplog.text
    wait_until(lambda: served.engine._line == [], 0.5)
    assert ask(client) == RIGHT
    wait_until(lambda: threads_of_turns() == [], 1)


@pytest.mark.parametrize("served", ENGINES, indirect=True)
def test_a_hundred_failures_in_a_row_leave_nothing_behind(served, client, monkeypatch):
    assert ask(client) == RIGHT
    step = served.engine._keeper.model.step
    write = step._one
    with monkeypatch.context() as patch:
        for at_call in range(100):
            patch.setattr(step, "_one", failing(write, 1 + at_call % 7))
            with pytest.raises(AppError, match="failed while replying"):
                ask(client)
    assert served.engine._line == []
    assert ask(client) == RIGHT
    wait_until(lambda: threads_of_turns() == [], 1)


@pytest.mark.parametrize("served", ENGINES, indirect=True)
def test_out_of_memory_is_said_and_survived(served, client, monkeypatch):
    import torch

    step = served.engine._keeper.model.step
    with monkeypatch.context() as patch:
        patch.setattr(step, "_one", failing(step._one, 2, torch.OutOfMemoryError))
        with pytest.raises(AppError, match="ran out of memory"):
            ask(client)
    assert ask(client) == RIGHT
