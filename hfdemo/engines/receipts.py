"""The receipt of a reply that was never begun, and the log line of one that ended: numbers only, never text."""

import logging
import math

from hfdemo.chat.reply import FinishReason, Receipt
from hfdemo.engines.protocol import Status


def nothing_written(reason: FinishReason, status: Status) -> Receipt:
    """Return the receipt of a reply that ended before the model began to read."""
    return Receipt(
        prompt_tokens=0,
        cached_tokens=0,
        new_tokens=0,
        first_token_s=0.0,
        tokens_per_s=0.0,
        finish_reason=reason,
        seed=0,
        model=status.model,
        device=status.device,
        context_limit=status.context_limit,
        dropped_messages=0,
    )


def log_receipt(logger: logging.Logger, receipt: Receipt, lent_s: float = math.inf) -> None:
    """Log what a reply took, in one line of `name=value`, and for how long it had a GPU if that was lent."""
    logger.info(
        "reply: prompt_tokens=%d cached_tokens=%d new_tokens=%d first_token_s=%.2f tokens_per_s=%.1f "
        "finish_reason=%s%s",
        receipt.prompt_tokens,
        receipt.cached_tokens,
        receipt.new_tokens,
        receipt.first_token_s,
        receipt.tokens_per_s,
        receipt.finish_reason,
        f" lent_s={lent_s:.0f}" if lent_s < math.inf else "",
    )
