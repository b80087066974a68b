"""A reply's receipt in a person's words."""

from hfdemo.chat.conversation import Turn
from hfdemo.chat.reply import Receipt
from hfdemo.words import Language, say


def receipt_title(turn: Turn, receipt: Receipt, language: Language) -> str:
    """Return why a reply ended, how long it is, and how fast it came."""
    only_thought = receipt.finish_reason == "max_new_tokens" and turn.thought and not turn.content
    why = say("receipt.only_thought", language) if only_thought else say(f"receipt.{receipt.finish_reason}", language)
    rate = say("receipt.rate", language, rate=f"{receipt.tokens_per_s:.1f}")
    speed = f" · {rate}" if receipt.tokens_per_s else ""
    return say("receipt.title", language, why=why, tokens=f"{receipt.new_tokens:,}", speed=speed)


def receipt_lines(receipt: Receipt, language: Language) -> list[str]:
    """Return all of a receipt, a line for each value."""
    rows = {
        "prompt_tokens": f"{receipt.prompt_tokens:,}",
        "cached_tokens": f"{receipt.cached_tokens:,}",
        "new_tokens": f"{receipt.new_tokens:,}",
        "first_token": f"{receipt.first_token_s:.2f} s",
        "speed": f"{receipt.tokens_per_s:.1f}",
        "dropped": f"{receipt.dropped_messages:,}",
        "seed": str(receipt.seed),
        "model": receipt.model,
        "device": receipt.device,
    }
    return [f"{say(f'receipt.{name}', language)}: {value}" for name, value in rows.items()]


def meter_text(used_tokens: int, limit: int | None, language: Language) -> str:
    """Return how much of the model's context a conversation takes."""
    if not used_tokens:
        return ""
    if limit is None:
        return say("receipt.meter_unlimited", language, used=f"{used_tokens:,}")
    return say("receipt.meter", language, used=f"{used_tokens:,}", limit=f"{limit:,}")
