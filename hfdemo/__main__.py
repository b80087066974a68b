"""The command line: `python -m hfdemo`.

`start` and `test` work on a machine that has nothing but Python, so that this module imports nothing else.
"""

import argparse
import sys

from hfdemo import environment


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m hfdemo", description="A chat with any Hugging Face language model, in a browser page."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("start", help="install what is needed and start the chat")
    test = commands.add_parser("test", help="install what is needed and run all tests", prefix_chars="\0")
    test.add_argument("pytest", nargs="*", help="arguments for pytest")
    chosen = parser.parse_args(arguments)
    return environment.start() if chosen.command == "start" else environment.test(chosen.pytest)


if __name__ == "__main__":
    sys.exit(main())
