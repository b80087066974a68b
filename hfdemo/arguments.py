"""The arguments of the command line, and what is said of them: in the language they name, or else the terminal's.

They are read on a machine that has only Python, so this module imports only the standard library.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, get_args

from hfdemo import __version__
from hfdemo.settings import CONTEXT_RANGE, Quantize
from hfdemo.words import LANGUAGES, Language, as_language, language_of_terminal, say

Phrase = Callable[..., str]
"""`say`, in a language."""

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
    phrase = partial(say, language=_language(arguments))
    parser = _Parser(phrase=phrase, prog=program, description=phrase("arguments.description"))
    _add_version(parser, phrase)
    commands: Any = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, title=phrase("arguments.commands")
    )
    _add_start(commands, phrase)
    test = commands.add_parser("test", phrase=phrase, help=phrase("arguments.test"), prefix_chars="\0")
    test.operands.add_argument("pytest", nargs="*", help=phrase("arguments.pytest"))
    for add in (_add_prompt, _add_check, _add_doctor, _add_publish):
        add(commands, phrase)
    return parser.parse_args(arguments)


def _language(arguments: list[str] | None) -> Language:
    """Return the language that `--language` names, wherever it stands among arguments that perhaps can't be used."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--language", type=str.lower)
    try:
        named = parser.parse_known_args(arguments)[0].language
    except argparse.ArgumentError:  # it has no value
        named = None
    return as_language(named) if named in LANGUAGES else language_of_terminal(os.environ)


class _Parser(argparse.ArgumentParser):
    """A parser with words of our own."""

    def __init__(self, *, phrase: Phrase, **options: Any) -> None:
        super().__init__(add_help=False, formatter_class=partial(_Formatter, phrase), **options)
        self.phrase = phrase
        self.operands = self.add_argument_group(phrase("arguments.operands"))
        self.options = self.add_argument_group(phrase("arguments.options"))
        if "-" in self.prefix_chars:
            self.options.add_argument("-h", "--help", action="help", help=phrase("arguments.help"))

    def error(self, message: str) -> NoReturn:
        """End with the usage, and with what argparse says of an argument."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {self.phrase('arguments.error')}: {_complaint(message, self.phrase)}\n")


class _Formatter(argparse.HelpFormatter):
    def __init__(self, phrase: Phrase, prog: str) -> None:
        super().__init__(prog)
        self.phrase = phrase

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """Add the line that begins with `usage: `."""
        super().add_usage(usage, actions, groups, self.phrase("arguments.usage") if prefix is None else prefix)


def _complaint(message: str, phrase: Phrase) -> str:
    for key, pattern in COMPLAINTS.items():
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return phrase(f"arguments.{key}", **found.groupdict())
    return message


def _add_start(commands: Any, phrase: Phrase) -> None:
    start = commands.add_parser("start", phrase=phrase, help=phrase("arguments.start"))
    start.operands.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        type=_model_name(phrase),
        help=phrase("arguments.as_in", name="HFDEMO_MODEL"),
    )
    start.options.add_argument(
        "--port", metavar="N", type=_whole_number(1, 65_535, phrase), help=phrase("arguments.port")
    )
    start.options.add_argument("--host", metavar="ADDRESS", help=phrase("arguments.host"))
    start.options.add_argument("--share", action="store_true", help=phrase("arguments.share"))
    _add_version(start, phrase)
    _add_language(start, phrase)


def _add_prompt(commands: Any, phrase: Phrase) -> None:
    prompt = commands.add_parser("prompt", phrase=phrase, help=phrase("arguments.prompt"))
    prompt.operands.add_argument("messages", metavar="MESSAGES.json", help=phrase("arguments.messages"))
    prompt.options.add_argument(
        "--model", type=_model_name(phrase), help=phrase("arguments.as_in", name="HFDEMO_MODEL")
    )
    prompt.options.add_argument(
        "--max-new-tokens", type=int, default=512, metavar="N", help=phrase("arguments.reserved")
    )
    prompt.options.add_argument("--thinking", default="auto", metavar="MODE", help=phrase("arguments.thinking"))
    prompt.options.add_argument("--system", metavar="TEXT", help=phrase("arguments.system"))
    prompt.options.add_argument("--reply-start", metavar="TEXT", help=phrase("arguments.reply_start"))
    prompt.options.add_argument("--json", action="store_true", help=phrase("arguments.prompt_json"))
    _add_language(prompt, phrase)


def _add_check(commands: Any, phrase: Phrase) -> None:
    check = commands.add_parser("check", phrase=phrase, help=phrase("arguments.check"))
    check.operands.add_argument("model", metavar="MODEL", help=phrase("arguments.as_in", name="HFDEMO_MODEL"))
    check.options.add_argument(
        "--context",
        type=_whole_number(*CONTEXT_RANGE, phrase),
        metavar="N",
        help=phrase("arguments.context"),
    )
    check.options.add_argument(
        "--quantize", choices=get_args(Quantize), help=phrase("arguments.as_in", name="HFDEMO_QUANTIZE")
    )
    check.options.add_argument("--json", action="store_true", help=phrase("arguments.json"))
    _add_language(check, phrase)


def _add_doctor(commands: Any, phrase: Phrase) -> None:
    doctor = commands.add_parser("doctor", phrase=phrase, help=phrase("arguments.doctor"))
    doctor.operands.add_argument(
        "model", metavar="MODEL", nargs="?", type=_model_name(phrase), help=phrase("arguments.doctor_model")
    )
    _add_language(doctor, phrase)


def _add_publish(commands: Any, phrase: Phrase) -> None:
    publish = commands.add_parser("publish", phrase=phrase, help=phrase("arguments.publish"))
    publish.operands.add_argument("name", metavar="NAME", help=phrase("arguments.space_name"))
    publish.options.add_argument("--title", help=phrase("arguments.title"))
    publish.options.add_argument("--hardware", help=phrase("arguments.hardware"))
    publish.options.add_argument("--private", action="store_true", help=phrase("arguments.private"))
    publish.options.add_argument("--model", type=_model_name(phrase), help=phrase("arguments.space_model"))
    publish.options.add_argument(
        "--secret", action="append", default=[], metavar="KEY", help=phrase("arguments.secret")
    )
    publish.options.add_argument(
        "--wait", type=_whole_number(1, 86_400, phrase), default=3600, metavar="N", help=phrase("arguments.wait")
    )
    publish.options.add_argument("--dry-run", action="store_true", help=phrase("arguments.dry_run"))
    publish.options.add_argument("--verbose", action="store_true", help=phrase("arguments.verbose"))
    _add_language(publish, phrase)


def _add_version(command: _Parser, phrase: Phrase) -> None:
    command.options.add_argument(
        "--version", action="version", version=f"hfdemo {__version__}", help=phrase("arguments.show_version")
    )


def _add_language(command: Any, phrase: Phrase) -> None:
    command.options.add_argument(
        "--language", type=str.lower, choices=LANGUAGES, help=phrase("arguments.as_in", name="HFDEMO_LANGUAGE")
    )


def _whole_number(low: int, high: int, phrase: Phrase) -> Callable[[str], int]:
    """Return what reads the number N of an option, which the parser names if it can't be used."""

    def read(value: str) -> int:
        if not value.strip().isdecimal() or len(value) > 9 or not low <= int(value) <= high:
            problem = phrase("error.not_whole", name="N", low=low, high=high, value=repr(value))
            raise argparse.ArgumentTypeError(problem)
        return int(value)

    return read


def _model_name(phrase: Phrase) -> Callable[[str], str]:
    """Return what refuses a name without a letter, as of a variable of the shell that isn't set: not the default."""

    def read(value: str) -> str:
        if not value.strip():
            raise argparse.ArgumentTypeError(phrase("error.no_model_name"))
        return value

    return read
