"""An access token that is typed at the terminal, where a command fails for want of one, or of a better one."""

import sys
from collections.abc import Callable
from typing import TypeVar

from hfdemo.commands.terminal import ask_unseen
from hfdemo.errors import HfdemoError
from hfdemo.interrupt import raise_on_interrupt
from hfdemo.settings import Platform
from hfdemo.words import Language, say

ADVICE_TO_TYPE = ("set_token_local", "new_token_local", "other_token_local", "publish_asks")
"""What errors advise when they send people to a command that asks for another token."""

T = TypeVar("T")


def run_with_token(command: Callable[[], T], platform: Platform, language: Language) -> T:
    """Run a command; where its error advises to type an access token at the terminal, ask for one, and run it again.

    Raises:
        HfdemoError: the command's own, or why the token can't be used.
    """
    try:
        return command()
    except HfdemoError as error:
        if not _may_ask(error, platform) or not _ask_for_token(error, platform, language):
            raise
    return command()


def _may_ask(error: HfdemoError, platform: Platform) -> bool:
    """Tell whether the error's own advice is to type a token, and it would be used."""
    if error.advice not in ADVICE_TO_TYPE or not sys.stdin.isatty():
        return False
    from hfdemo.models.saved_token import OF_THE_ENVIRONMENT, token_source

    return token_source(platform) not in OF_THE_ENVIRONMENT


def _ask_for_token(error: HfdemoError, platform: Platform, language: Language) -> bool:
    """Ask for an access token without showing it, and store it as `hf auth login` does; False if none was given.

    Raises:
        HfdemoError: the Hub doesn't know it, or can't be reached.
    """
    from huggingface_hub import login

    print(f"✗ {error.text(language)}", flush=True)  # noqa: T201
    raise_on_interrupt()  # so that the terminal shows again what is typed
    token = ask_unseen(say("doctor.ask_token", language))
    if not token:
        return False
    try:
        login(token=token, add_to_git_credential=False)
    except Exception as problem:
        raise _login_error(problem, platform) from None
    return True


def _login_error(problem: Exception, platform: Platform) -> HfdemoError:
    """Return the error to show for a token that was not accepted."""
    from huggingface_hub.errors import HfHubHTTPError

    from hfdemo.models.explain import UNREACHABLE, bad_token_error, explain_load_error, explain_search_error

    refused = isinstance(problem, HfHubHTTPError) and problem.response.status_code == 401
    if not refused and isinstance(problem, (HfHubHTTPError, *UNREACHABLE)):
        return explain_search_error(problem)
    if refused or isinstance(problem, ValueError):  # not the form of a token, or an organisation's token
        return bad_token_error(None, platform)
    return explain_load_error(problem, None, platform)
