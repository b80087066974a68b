"""A smoke test of the new Space: one message, because an address is useful only if it answers."""

import time
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any

from gradio_client import Client
from gradio_client.exceptions import AppError
from huggingface_hub import HfApi
from huggingface_hub.utils import get_session

from hfdemo.errors import PublishError
from hfdemo.models.hub_private import constants
from hfdemo.models.saved_token import saved_token
from hfdemo.settings import SIGN_IN_NAME
from hfdemo.words import Language, say

MAX_NEW_TOKENS = 16
"""The longest answer: each token costs the owner GPU time."""

OPENING_S = 60.0
"""How long the page may take to be reachable once the Space runs."""

TRY_AGAIN_AFTER_S = 3.0

SIGN_IN_FORM = 'action="login"'
"""What the page has that asks visitors to sign in, and no other."""


def ask_space(repo_id: str, language: Language, patience_s: float, password: str | None = None) -> str:
    """Say hello to a running Space at its endpoint `/chat`, and return what it answers.

    If the model is still loading, the page answers once it is ready.

    Args:
        repo_id: the Space.
        language: language of the Space's messages.
        patience_s: how long to wait for the answer.
        password: the page's password, if it has one.

    Raises:
        PublishError: it doesn't answer; the text quotes the Space, or says what happened.
    """
    client = _connect(repo_id, language, min(OPENING_S, patience_s), password)
    job = None
    try:
        job = client.submit(
            message=say("publish.hello", language), temperature=0, max_new_tokens=MAX_NEW_TOKENS, api_name="/chat"
        )
        answer = str(job.result(timeout=patience_s) or "").strip()
    except NoAnswer:
        raise _silent(repo_id, f"{patience_s:.0f} s") from None
    except AppError as error:
        raise _silent(repo_id, f"{error.title}: {error.message}") from None
    except Exception as error:  # whatever the cause, the Space didn't answer
        raise _silent(repo_id, f"{type(error).__name__}: {error}") from None
    finally:
        if job:
            job.cancel()  # otherwise its thread would keep the program from exiting
    if not answer:
        raise _silent(repo_id, "…")
    return answer


def sees_sign_in(repo_id: str, patience_s: float) -> None:
    """Look whether a Space asks strangers to sign in, which only a person can do.

    Args:
        repo_id: the Space.
        patience_s: how long to wait for the page, in seconds.

    Raises:
        PublishError: it doesn't; the text says what happened.
    """
    started = time.monotonic()
    while True:
        try:
            headers = {"X-HF-Authorization": f"Bearer {saved_token()}"}
            page = get_session().get(
                str(HfApi(token=saved_token()).space_info(repo_id).host), headers=headers, timeout=OPENING_S
            )
            problem = "" if SIGN_IN_FORM in page.text else f"HTTP {page.status_code}"
        except Exception as error:  # a page that isn't up yet can fail in any way
            problem = f"{type(error).__name__}: {error}"
        if not problem:
            return
        if time.monotonic() - started > patience_s:
            raise _silent(repo_id, problem)
        time.sleep(TRY_AGAIN_AFTER_S)


def _connect(repo_id: str, language: Language, patience_s: float, password: str | None) -> Client:
    """Connect to the Space's page as a program does, once it is reachable.

    The client gets the address, because with the Space's name it would import all of Gradio.
    """
    options: dict[str, Any] = {"headers": {"Accept-Language": language}, "httpx_kwargs": {"timeout": 60}}
    options |= {"auth": (SIGN_IN_NAME, password)} if password else {}
    started = time.monotonic()
    while True:
        try:
            host = HfApi(token=saved_token()).space_info(repo_id).host
            return Client(host, token=saved_token(), verbose=False, analytics_enabled=False, **options)
        except Exception as error:  # a page that isn't up yet can fail in any way
            if time.monotonic() - started > patience_s:
                raise _silent(repo_id, f"{type(error).__name__}: {error}") from None
        time.sleep(TRY_AGAIN_AFTER_S)


def _silent(repo_id: str, problem: str) -> PublishError:
    page = f"{constants.ENDPOINT}/spaces/{repo_id}"
    return PublishError("space_silent", space=repo_id, page=page, problem=" ".join(problem.split())[:300])
