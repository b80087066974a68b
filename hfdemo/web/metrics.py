"""Numbers about the program for Prometheus, at `/metrics`. Never text, never who asked.

Source of the names' form: https://prometheus.io/docs/practices/naming
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from hfdemo.chat.reply import Receipt

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""The upper ends of the classes in which times are counted."""


class Metrics:
    """Counts replies; see `answering.Watcher`.

    Args:
        is_ready: tells whether messages can be answered now.
    """

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time, open files
        self._in_progress = Gauge("hfdemo_replies_in_progress", "Replies that come or wait.", registry=registry)
        self._replies = Counter(
            "hfdemo_replies", "Replies that ended, by their reason.", ["finish_reason"], registry=registry
        )
        self._refused = Counter(
            "hfdemo_refused", "Messages that weren't taken, by the reason.", ["reason"], registry=registry
        )
        self._tokens = Counter("hfdemo_tokens", "Tokens, by what was done with them.", ["kind"], registry=registry)
        self._first_s = Histogram(
            "hfdemo_first_token_seconds",
            "Time from the model's beginning to the first token.",
            buckets=SECONDS,
            registry=registry,
        )
        self._reply_s = Histogram(
            "hfdemo_reply_seconds",
            "Time from a message to the end of its reply, waiting included.",
            buckets=SECONDS,
            registry=registry,
        )
        ready = Gauge("hfdemo_ready", "Whether messages can be answered now.", registry=registry)
        ready.set_function(lambda: float(is_ready()))

    def began(self) -> None:
        """Count a message that was taken."""
        self._in_progress.inc()

    def refused(self, reason: str) -> None:
        """Count a message that wasn't taken."""
        self._refused.labels(reason).inc()

    def ended(self, receipt: Receipt | None, seconds: float) -> None:
        """Count a reply that ended; it has no receipt if it failed."""
        self._in_progress.dec()
        self._reply_s.observe(seconds)
        self._replies.labels(receipt.finish_reason if receipt else "failed").inc()
        if receipt is None:
            return
        for kind, count in (
            ("read", receipt.prompt_tokens - receipt.cached_tokens),
            ("cached", receipt.cached_tokens),
            ("written", receipt.new_tokens),
        ):
            self._tokens.labels(kind).inc(max(0, count))
        if receipt.new_tokens:
            self._first_s.observe(receipt.first_token_s)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self._registry)
