"""What the models are asked: prompts of a given length that lead to long replies."""

from pathlib import Path
from typing import Any

SYSTEM_PROMPT = "You are a friendly chatbot."
TEXT = (Path(__file__).parent / "text.txt").read_text("utf-8").strip()
"""English prose, written for this."""

QUESTION = "Write a long story with ten chapters that goes on from here: "


def message_of(builder: Any, tokens: int) -> str:
    """Return a message that makes a prompt of so many tokens, or one or two more.

    Args:
        builder: the `PromptBuilder` of the model.
        tokens: how long the prompt shall be, with system prompt and control tokens.
    """
    from hfdemo.chat.messages import Message

    words = TEXT.split(" ")
    while len(words) < tokens:
        words += TEXT.split(" ")
    few, many = 1, len(words)
    while few < many:
        middle = (few + many) // 2
        message = Message("user", QUESTION + " ".join(words[:middle]))
        if len(builder.build((message,), SYSTEM_PROMPT, 1).ids) < tokens:
            few = middle + 1
        else:
            many = middle
    return QUESTION + " ".join(words[:few])
