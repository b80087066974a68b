"""The command line: `python -m hfdemo`.

`start` and `test` work on a machine that has only Python, so this module imports only the standard library.
"""

from hfdemo.python_version import require_python

require_python()

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable

from hfdemo import __version__, environment
from hfdemo.settings import CONTEXT_RANGE
from hfdemo.words import language_of_terminal, say

INTERRUPTED = 130
"""The exit status after Ctrl-C."""

READER_GONE = 141
"""The exit status when nobody reads the output any more, as of programs that SIGPIPE ends: 128 + 13."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
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
    parser = argparse.ArgumentParser(
        prog=_program_name(), description="A chat with any Hugging Face language model, in a browser page."
    )
    parser.add_argument("--version", action="version", version=f"hfdemo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    start = commands.add_parser("start", help="install the requirements and start the chat")
    start.add_argument("model", metavar="MODEL", nargs="?", type=_model_name, help="as in HFDEMO_MODEL")
    start.add_argument(
        "--port",
        metavar="N",
        type=_whole_number(1, 65_535),
        help="as in GRADIO_SERVER_PORT; by default 7860, or the next free one",
    )
    start.add_argument("--host", metavar="ADDRESS", help="as in GRADIO_SERVER_NAME; 0.0.0.0 lets your network in")
    start.add_argument("--share", action="store_true", help="as GRADIO_SHARE=true: a public link for up to a week")
    test = commands.add_parser("test", help="install the requirements and run the tests", prefix_chars="\0")
    test.add_argument("pytest", nargs="*", help="arguments for pytest")
    prompt = commands.add_parser("prompt", help="show the exact prompt of a conversation, without loading the weights")
    prompt.add_argument("messages", metavar="MESSAGES.json", help="a JSON list of role and content, or - for stdin")
    prompt.add_argument("--model", help="as in HFDEMO_MODEL")
    prompt.add_argument(
        "--max-new-tokens", type=int, default=512, metavar="N", help="tokens reserved for the reply (512)"
    )
    prompt.add_argument("--thinking", default="auto", metavar="MODE", help="auto, off, on, low, medium or high")
    prompt.add_argument("--system", metavar="TEXT", help="the system prompt, instead of the messages' own")
    prompt.add_argument("--reply-start", metavar="TEXT", help="what the reply begins with")
    prompt.add_argument("--json", action="store_true", help="print JSON: text, ids, special, dropped, limit, stop, …")
    check = commands.add_parser("check", help="tell whether a model fits this machine, without downloading it")
    check.add_argument("model", metavar="MODEL", help="as in HFDEMO_MODEL")
    check.add_argument(
        "--context", type=_whole_number(*CONTEXT_RANGE), metavar="N", help="how many tokens a conversation may have"
    )
    check.add_argument("--quantize", choices=("auto", "off", "8bit", "4bit"), help="as in HFDEMO_QUANTIZE")
    check.add_argument("--json", action="store_true", help="print JSON for programs")
    doctor = commands.add_parser("doctor", help="check everything that a chat needs, and name the first problem")
    doctor.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        type=_model_name,
        help="as in HFDEMO_MODEL; by default the model that would start",
    )
    publish = commands.add_parser("publish", help="create or update a Hugging Face Space from this folder")
    publish.add_argument("name", metavar="NAME", help="the Space: name, namespace/name, or any title")
    publish.add_argument("--title", help="the title on the page (default: the title in README.md, or NAME)")
    publish.add_argument("--hardware", help="as named on the Hub; a new Space gets zero-a10g, which is ZeroGPU")
    publish.add_argument("--private", action="store_true", help="only you can see it")
    publish.add_argument("--model", help="the Space's model: organisation/name on the Hub")
    publish.add_argument(
        "--secret", action="append", default=[], metavar="KEY", help="a secret, from the environment or typed"
    )
    publish.add_argument(
        "--wait",
        type=_whole_number(1, 86_400),
        default=3600,
        metavar="N",
        help="how many seconds to wait until it runs (3600)",
    )
    publish.add_argument("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    publish.add_argument("--verbose", action="store_true", help="with --dry-run, list each file")
    for command in (start, prompt, check, doctor, publish):
        command.add_argument("--language", choices=environment.languages(), help="as in HFDEMO_LANGUAGE")
    chosen = parser.parse_args(arguments)
    try:
        return _run_chosen(chosen, arguments)
    except KeyboardInterrupt:
        print(f"\n{say('start.stopped', language_of_terminal(os.environ))}", file=sys.stderr)
        return INTERRUPTED


def _run_chosen(chosen: argparse.Namespace, arguments: list[str] | None) -> int:
    if chosen.command == "start":
        variables = _variables(chosen)
        return environment.start(_runs_elsewhere(variables), variables)
    if chosen.command == "test":
        return environment.test(chosen.pytest)
    if importlib.util.find_spec("huggingface_hub") is None:  # nothing is installed here: use the Python of `start`
        return environment.run_command(sys.argv[1:] if arguments is None else arguments, _runs_elsewhere({}))
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


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return what reads the number N of an option, which the parser names if it can't be used."""

    def read(value: str) -> int:
        if not value.strip().isdecimal() or len(value) > 9 or not low <= int(value) <= high:
            raise argparse.ArgumentTypeError(_sentence("not_whole", name="N", low=low, high=high, value=repr(value)))
        return int(value)

    return read


def _model_name(value: str) -> str:
    """Refuse a name without a letter, as of a variable of the shell that isn't set: the default isn't meant."""
    if not value.strip():
        raise argparse.ArgumentTypeError(_sentence("no_model_name"))
    return value


def _sentence(error: str, **fields: object) -> str:
    return say(f"error.{error}", language_of_terminal(os.environ), **fields)


def _program_name() -> str:
    """Return what was typed to get here: the installed script, or Python with the module."""
    return "hfdemo" if os.path.basename(sys.argv[0]).startswith("hfdemo") else "python -m hfdemo"


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
    if chosen.command == "publish":
        return _publish(chosen)
    from hfdemo.commands import check, doctor, prompt

    if chosen.command == "check":
        return check.run(chosen.model, chosen.context, chosen.quantize, chosen.language, chosen.json)
    if chosen.command == "doctor":
        return doctor.run(chosen.model, chosen.language)
    wishes = prompt.PromptWishes(chosen.max_new_tokens, chosen.thinking, chosen.system, chosen.reply_start)
    return prompt.run(chosen.messages, chosen.model, chosen.json, wishes, chosen.language)


def _publish(chosen: argparse.Namespace) -> int:
    from hfdemo.commands.terminal import prepare_terminal

    prepare_terminal()  # before importing the Hub's client, which reads the environment on import
    from hfdemo.commands import publish

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
