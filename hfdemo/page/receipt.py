"""A reply's receipt in a person's words."""

from hfdemo.chat.messages import FinishedReply, Receipt
from hfdemo.page.transcript import Entry, box
from hfdemo.words import Language, say


def receipt_box(reply: FinishedReply, language: Language) -> Entry:
    """Return the small folded box under a reply: why it ended, and what it took."""
    receipt = reply.receipt
    why = say(f"receipt.{_why(reply)}", language)
    speed = f" · {receipt.tokens_per_s:.1f}/s" if receipt.tokens_per_s else ""
    title = say("receipt.title", language, why=why, tokens=f"{receipt.new_tokens:,}", speed=speed)
    return box("receipt", title, _lines(receipt, language))


def meter_text(used_tokens: int, limit: int | None, language: Language) -> str:
    """Return how much of the model's context a chat takes."""
    if not used_tokens:
        return ""
    if limit is None:
        return say("receipt.meter_unlimited", language, used=f"{used_tokens:,}")
    return say("receipt.meter", language, used=f"{used_tokens:,}", limit=f"{limit:,}")


def used_tokens(receipt: Receipt) -> int:
    """Return how many tokens of the context a chat takes after a reply."""
    return receipt.prompt_tokens + receipt.new_tokens


def _why(reply: FinishedReply) -> str:
    reason = reply.receipt.finish_reason
    only_thought = reason == "max_new_tokens" and reply.thought and not reply.text
    return "only_thought" if only_thought else reason


def _lines(receipt: Receipt, language: Language) -> str:
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
    return "\n".join(f"- {say(f'receipt.{name}', language)}: {value}" for name, value in rows.items())
