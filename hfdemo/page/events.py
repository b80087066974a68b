"""How the page's own events run."""

from typing import Any

QUIETLY: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""At once, without Gradio's progress bars, and not as part of the API."""

REFUSING = QUIETLY | {"queue": True}
"""The same for events that may refuse: the page shows an error only if it comes through the queue."""
