"""The arguments of the command line, and what is said of them in the language of the terminal.

They are read on a machine that has only Python, so this module imports only the standard library.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from hfdemo import __version__, environment
from hfdemo.settings import CONTEXT_RANGE
from hfdemo.words import language_of_terminal, say

_NAMED = r"argument (?P<name>\S+)"

COMPLAINTS = {
    "required": r"the following arguments are required: (?P<names>.+)",
    "unrecognized": r"unrecognized arguments: (?P<names>.+)",
    "no_value": rf"{_NAMED}: expected (?:one|at least one) argument",
    "no_choice": rf"{_NAMED}: invalid choice: (?P<value>.*?)(?:, maybe you meant .*)? \(choose from (?P<names>.+)\)",
    "no_number": rf"{_NAMED}: invalid int value: (?P<value>.*)",
    "takes_none": rf"{_NAMED}: ignored explicit argument (?P<value>.*)",
    "ambiguous": r"ambiguous option: (?P<name>.*?) could match (?P<names>.+)",
    "other": rf"{_NAMED}: (?P<problem>.*)",
}
"""What argparse says, in English, of arguments that it can't use; the first that matches. Source: argparse.py."""


def read_arguments(program: str, arguments: list[str] | None) -> argparse.Namespace:
    """Return the command and its arguments.

    Args:
        program: what was typed to get here.
        arguments: what was typed behind it; None asks the system.

    Raises:
        SystemExit: they can't be used, or only ask for help; it has been said.
    """
    parser = _Parser(prog=program, description=_help("description"))
    _add_version(parser)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, title=_help("commands"), parser_class=_Parser
    )
    _add_start(commands)
    test = commands.add_parser("test", help=_help("test"), prefix_chars="\0")
    test.operands.add_argument("pytest", nargs="*", help=_help("pytest"))
    for add in (_add_prompt, _add_check, _add_doctor, _add_publish):
        add(commands)
    return parser.parse_args(arguments)


class _Parser(argparse.ArgumentParser):
    """A parser that speaks the language of the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(add_help=False, formatter_class=_Formatter, **options)
        self.operands = self.add_argument_group(_help("operands"))
        self.options = self.add_argument_group(_help("options"))
        if "-" in self.prefix_chars:
            self.options.add_argument("-h", "--help", action="help", help=_help("help"))

    def error(self, message: str) -> NoReturn:
        """End with the usage, and with what argparse says of an argument."""
        said = _complaint(message)
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {_help('error')}: {said}\n")


class _Formatter(argparse.HelpFormatter):
    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """Add the line that begins with `usage: `."""
        super().add_usage(usage, actions, groups, _help("usage") if prefix is None else prefix)


def _complaint(message: str) -> str:
    for key, pattern in COMPLAINTS.items():
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return _help(key, **found.groupdict())
    return message


def _add_start(commands: Any) -> None:
    start = commands.add_parser("start", help=_help("start"))
    start.operands.add_argument(
        "model", metavar="MODEL", nargs="?", type=_model_name, help=_help("as_in", name="HFDEMO_MODEL")
    )
    start.options.add_argument("--port", metavar="N", type=_whole_number(1, 65_535), help=_help("port"))
    start.options.add_argument("--host", metavar="ADDRESS", help=_help("host"))
    start.options.add_argument("--share", action="store_true", help=_help("share"))
    _add_version(start)
    _add_language(start)


def _add_prompt(commands: Any) -> None:
    prompt = commands.add_parser("prompt", help=_help("prompt"))
    prompt.operands.add_argument("messages", metavar="MESSAGES.json", help=_help("messages"))
    prompt.options.add_argument("--model", help=_help("as_in", name="HFDEMO_MODEL"))
    prompt.options.add_argument("--max-new-tokens", type=int, default=512, metavar="N", help=_help("reserved"))
    prompt.options.add_argument("--thinking", default="auto", metavar="MODE", help=_help("thinking"))
    prompt.options.add_argument("--system", metavar="TEXT", help=_help("system"))
    prompt.options.add_argument("--reply-start", metavar="TEXT", help=_help("reply_start"))
    prompt.options.add_argument("--json", action="store_true", help=_help("prompt_json"))
    _add_language(prompt)


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help=_help("check"))
    check.operands.add_argument("model", metavar="MODEL", help=_help("as_in", name="HFDEMO_MODEL"))
    check.options.add_argument("--context", type=_whole_number(*CONTEXT_RANGE), metavar="N", help=_help("context"))
    check.options.add_argument(
        "--quantize", choices=("auto", "off", "8bit", "4bit"), help=_help("as_in", name="HFDEMO_QUANTIZE")
    )
    check.options.add_argument("--json", action="store_true", help=_help("json"))
    _add_language(check)


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help=_help("doctor"))
    doctor.operands.add_argument("model", metavar="MODEL", nargs="?", type=_model_name, help=_help("doctor_model"))
    _add_language(doctor)


def _add_publish(commands: Any) -> None:
    publish = commands.add_parser("publish", help=_help("publish"))
    publish.operands.add_argument("name", metavar="NAME", help=_help("space_name"))
    publish.options.add_argument("--title", help=_help("title"))
    publish.options.add_argument("--hardware", help=_help("hardware"))
    publish.options.add_argument("--private", action="store_true", help=_help("private"))
    publish.options.add_argument("--model", help=_help("space_model"))
    publish.options.add_argument("--secret", action="append", default=[], metavar="KEY", help=_help("secret"))
    publish.options.add_argument(
        "--wait", type=_whole_number(1, 86_400), default=3600, metavar="N", help=_help("wait")
    )
    publish.options.add_argument("--dry-run", action="store_true", help=_help("dry_run"))
    publish.options.add_argument("--verbose", action="store_true", help=_help("verbose"))
    _add_language(publish)


def _add_version(command: _Parser) -> None:
    command.options.add_argument(
        "--version", action="version", version=f"hfdemo {__version__}", help=_help("show_version")
    )


def _add_language(command: Any) -> None:
    command.options.add_argument(
        "--language", choices=environment.languages(), help=_help("as_in", name="HFDEMO_LANGUAGE")
    )


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


def _help(key: str, **fields: object) -> str:
    return say(f"arguments.{key}", language_of_terminal(os.environ), **fields)
