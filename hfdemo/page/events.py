"""How the page's own events run."""

from typing import Any

UNQUEUED: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Without Gradio's queue and progress bars, and not as part of the API."""

QUEUED = UNQUEUED | {"queue": True}
"""The same for events that take their time or may be refused: the page shows an error only if it comes through the
queue."""
