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
    prompt = commands.add_parser("prompt", help="show the exact prompt of a conversation, without loading the weights")
    prompt.add_argument("messages", metavar="MESSAGES.json", help="a JSON list of role and content, or - for stdin")
    prompt.add_argument("--model", help="as in HFDEMO_MODEL")
    prompt.add_argument("--max-new-tokens", type=int, default=512, metavar="N", help="room left for the reply (512)")
    prompt.add_argument("--json", action="store_true", help="print JSON: text, ids, special, dropped, limit, stop, …")
    chosen = parser.parse_args(arguments)
    if chosen.command == "start":
        return environment.start()
    if chosen.command == "test":
        return environment.test(chosen.pytest)
    from hfdemo import prompt_command  # it needs what `start` installs

    return prompt_command.run(chosen.messages, chosen.model, chosen.max_new_tokens, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
