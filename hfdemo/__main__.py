"""The command line: `python -m hfdemo`.

`start` and `test` work on a machine that has only Python, so this module imports only the standard library.
"""

from hfdemo.interrupt import INTERRUPTED, end_on_interrupt, raise_on_interrupt, stopped_line, tell_interrupts

tell_interrupts()

from hfdemo.python_version import require_python

require_python()

import argparse
import io
import os
import sys

from hfdemo import environment
from hfdemo.arguments import read_arguments
from hfdemo.errors import own_command
from hfdemo.words import language_of_terminal

READER_GONE = 141
"""The exit status when nobody reads the output any more, as of programs that SIGPIPE ends: 128 + 13."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # On Windows, redirected output supports few characters; names of files can hold what is no UTF-8.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # what Python writes only as it ends can't be answered for there
    except BrokenPipeError:  # `| head`
        nowhere = os.open(os.devnull, os.O_WRONLY)  # for what is left, which Python writes as it ends
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return READER_GONE


def script() -> int:
    """Run the installed script, which starts the chat if it is given nothing else to do."""
    return main(sys.argv[1:] or ["start"])


def _run(arguments: list[str] | None) -> int:
    """Read the arguments, and run the command that they name."""
    chosen = read_arguments(_program_name(), arguments)
    try:
        return _run_chosen(chosen, arguments)
    except KeyboardInterrupt:
        sys.stderr.write(stopped_line())
        return INTERRUPTED


def _run_chosen(chosen: argparse.Namespace, arguments: list[str] | None) -> int:
    if chosen.command == "start":
        variables = _variables(chosen)
        return environment.start(_runs_elsewhere(variables), variables)
    if chosen.command == "test":
        return environment.test(chosen.pytest)
    named = {"HFDEMO_MODEL": chosen.model} if chosen.model else {}
    page_only = chosen.command in ("check", "doctor") and _runs_elsewhere(named)
    if environment.is_elsewhere(page_only):
        return environment.run_command(sys.argv[1:] if arguments is None else arguments, page_only)
    return _run_command(chosen)


def _variables(chosen: argparse.Namespace) -> dict[str, str]:
    """Return what the arguments of `start` say, as environment variables."""
    given = {
        "HFDEMO_MODEL": chosen.model,
        "GRADIO_SERVER_PORT": None if chosen.port is None else str(chosen.port),
        "GRADIO_SERVER_NAME": chosen.host,
        "GRADIO_SHARE": "true" if chosen.share else None,
        "HFDEMO_LANGUAGE": chosen.language,
    }
    return {name: value for name, value in given.items() if value is not None}


def _program_name() -> str:
    """Return what was typed to get here: the installed script, or Python with the module."""
    return "hfdemo" if os.path.basename(sys.argv[0]).startswith("hfdemo") else own_command()


def _runs_elsewhere(variables: dict[str, str]) -> bool:
    """Tell whether a server elsewhere runs the model, so that little has to be installed."""
    from hfdemo.errors import SettingsError
    from hfdemo.settings import from_env

    try:
        return from_env(os.environ | variables).is_remote
    except SettingsError:  # the program that reads them says so
        return False


def _run_command(chosen: argparse.Namespace) -> int:
    """Run one of the commands that need what `start` installs."""
    end_on_interrupt()
    if chosen.command == "publish":
        return _publish(chosen)
    from hfdemo.commands import check, doctor, prompt

    if chosen.command == "check":
        return check.run(chosen.model, chosen.context, chosen.quantize, chosen.language, chosen.json)
    if chosen.command == "doctor":
        return doctor.run(chosen.model, chosen.language)
    prompt_options = prompt.PromptOptions(chosen.max_new_tokens, chosen.thinking, chosen.system, chosen.reply_start)
    return prompt.run(chosen.messages, chosen.model, chosen.json, prompt_options, chosen.language)


def _publish(chosen: argparse.Namespace) -> int:
    from hfdemo.commands.terminal import OTHER_ERROR, prepare_terminal

    prepare_terminal()  # before importing the Hub's client, which reads the environment on import
    from hfdemo.errors import SettingsError
    from hfdemo.settings import refuse_variables

    try:
        refuse_variables(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error.text(chosen.language or language_of_terminal(os.environ))}\n")
        return OTHER_ERROR
    from hfdemo.commands import publish

    raise_on_interrupt()  # it says what becomes of the Space
    options = publish.PublishOptions(
        name=chosen.name,
        title=chosen.title,
        hardware=chosen.hardware,
        private=chosen.private,
        model=chosen.model,
        secrets=chosen.secret,
        wait_s=chosen.wait,
        dry_run=chosen.dry_run,
        verbose=chosen.verbose,
    )
    return publish.run(options, chosen.language)


if __name__ == "__main__":
    sys.exit(main())
