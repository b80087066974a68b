"""How the page's own events run."""

from typing import Any

UNQUEUED: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "show_progress_on": [],
    "api_visibility": "private",
}
"""Without Gradio's queue and progress bars, and not as part of the API.

Progress that is hidden must be on no component either: otherwise Gradio (6.31) copies all that each component holds
that was ever an output, the whole conversation too, whenever anything comes. That took half of what an update of a
reply costs a browser; four times slower ones, as phones are, could not keep up.
"""

QUEUED = UNQUEUED | {"queue": True}
"""The same for events that take their time or may be refused: the page shows an error only if it comes through the
queue."""
