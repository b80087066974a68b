"""What of `spaces` isn't public: how long a second is, and who waits for a GPU. Imported after `spaces`."""

from contextvars import ContextVar
from dataclasses import dataclass

from hfdemo.chat.reply import StopSignal

waits_for: ContextVar[StopSignal | None] = ContextVar("waits_for", default=None)
"""What ends the reply that asks for a GPU here."""


def duration_factor() -> float:
    """Return how many seconds `spaces` asks for, for each second of `duration`: on today's GPUs 1.5.

    Durations are given for the slower GPUs that ZeroGPU had before. If the factor is unknown, 1 is assumed, which may
    request too much time but never too little.
    """
    try:
        from spaces.zero.config import get_config

        return float(get_config()["duration_factor"])
    except (ImportError, KeyError):
        return 1.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What `spaces` takes for the event of a page."""

    stop: StopSignal

    @property
    def alive(self) -> bool:
        """Whether a GPU is still wanted."""
        return not self.stop.is_set()


def leave_line_when_stopped() -> None:
    """Let `spaces` leave the line for a GPU when the reply has to end, and only then.

    It looks at the page's event, which is over when the page loses its connection, though the reply goes on for who
    comes back; and a program's call through the API in OpenAI's form is no such event. Source: `schedule` in
    spaces/zero/client.py.
    """
    from spaces.zero import client

    client.get_event = lambda: (stop := waits_for.get()) and _Waiting(stop)
