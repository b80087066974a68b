"""One message to the new Space: its address is worth something only if it answers."""

import time
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any

from gradio_client import Client
from gradio_client.exceptions import AppError
from huggingface_hub import HfApi, constants, get_token

from hfdemo.errors import PublishError
from hfdemo.settings import SIGN_IN_NAME
from hfdemo.words import Language, say

WORDS = 16
"""How many tokens the answer may have: each costs the owner's time on the GPU."""

OPENING_S = 60.0
"""How long the page's address may take to be there once the Space runs."""

TRY_AGAIN_AFTER_S = 3.0


def ask_space(repo_id: str, language: Language, patience_s: float, password: str | None = None) -> str:
    """Say hello to a running Space at its endpoint `/chat`, and return what it answers.

    A model that is still on its way is waited for: the page answers when it is there.

    Args:
        repo_id: the Space.
        language: in which it says what is wrong, if anything is.
        patience_s: how long to wait for the answer.
        password: what its page asks for, if it asks.

    Raises:
        PublishError: it doesn't answer; the text has the Space's own words, or what happened.
    """
    client = _connect(repo_id, language, min(OPENING_S, patience_s), password)
    job = None
    try:
        job = client.submit(
            message=say("publish.hello", language), temperature=0, max_new_tokens=WORDS, api_name="/chat"
        )
        answer = str(job.result(timeout=patience_s) or "").strip()
    except NoAnswer:
        raise _silent(repo_id, f"{patience_s:.0f} s") from None
    except AppError as error:
        raise _silent(repo_id, f"{error.title}: {error.message}") from None
    except Exception as error:  # whatever it is, the Space didn't answer
        raise _silent(repo_id, f"{type(error).__name__}: {error}") from None
    finally:
        if job:
            job.cancel()  # of an answer that doesn't come: its thread would keep the program from ending
    if not answer:
        raise _silent(repo_id, "…")
    return answer


def _connect(repo_id: str, language: Language, patience_s: float, password: str | None) -> Client:
    """Open the Space's page as a program does, once it is there.

    The address is what the client is given: with the Space's name it would load all of Gradio.
    """
    options: dict[str, Any] = {"headers": {"Accept-Language": language}, "httpx_kwargs": {"timeout": 60}}
    options |= {"auth": (SIGN_IN_NAME, password)} if password else {}
    begun = time.monotonic()
    while True:
        try:
            host = HfApi().space_info(repo_id).host
            return Client(host, token=get_token(), verbose=False, analytics_enabled=False, **options)
        except Exception as error:  # a page that isn't there yet can fail in any way
            if time.monotonic() - begun > patience_s:
                raise _silent(repo_id, f"{type(error).__name__}: {error}") from None
        time.sleep(TRY_AGAIN_AFTER_S)


def _silent(repo_id: str, problem: str) -> PublishError:
    page = f"{constants.ENDPOINT}/spaces/{repo_id}"
    return PublishError("space_silent", space=repo_id, page=page, problem=" ".join(problem.split())[:300])
