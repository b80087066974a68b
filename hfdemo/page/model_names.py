"""What the page calls models: by their names, and a visitor learns nothing of this machine's folders."""

import os
from collections.abc import Sequence


def shown_names(models: Sequence[str]) -> dict[str, str]:
    """Return the models of the host's list by the names that the page shows, each by one of its own."""
    shown: dict[str, str] = {}
    for model in models:
        name = first = without_folders(model)
        count = 1
        while name in shown:
            count += 1
            name = f"{first} ({count})"
        shown[name] = model
    return shown


def without_folders(model: str) -> str:
    """Return the last part of a path, and the name of a model on the Hub as it is."""
    path = os.path.expanduser(model)
    is_path = os.path.exists(path) or model.startswith(("/", "~", "."))
    return os.path.basename(os.path.abspath(path)) if is_path else model
