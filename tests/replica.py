"""A server of OpenAI's protocol in a process of its own, that counts slowly and says who counts: it can be killed.

    python -m tests.replica NAME WORDS SECONDS

It prints its address. A conversation that ends in a reply is gone on with where that stopped.
"""

import sys
import threading
from collections.abc import Callable
from typing import Any

from tests.endpoint import DONE, Answer, Asked, delta, json_answer, serve_endpoint, usage


def counting(name: str, words: int, seconds: float) -> Callable[[Asked], Answer]:
    """Return what answers each request with the numbers that are still missing, behind the replica's name."""

    def answer(asked: Asked) -> Answer:
        said: dict[str, Any] = asked.body["messages"][-1]
        told = len(said["content"].split()) if said["role"] == "assistant" else 0
        steps: list[Any] = [delta(role="assistant")]
        for number in range(told, words):
            steps += [delta(f"{name}{number} "), seconds]
        return Answer([*steps, delta(finish="stop"), usage(9, words - told), DONE])

    return answer


def main(name: str, words: int, seconds: float) -> None:
    with serve_endpoint() as endpoint:
        endpoint.answer_to = counting(name, words, seconds)  # type: ignore[method-assign]
        endpoint.pages["/health"] = json_answer({})
        print(endpoint.url, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
