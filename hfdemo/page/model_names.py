"""What the page calls the models of the host's list: a visitor learns nothing of this machine's folders."""

import os
from collections.abc import Sequence


def shown_names(models: Sequence[str], private: bool) -> dict[str, str]:
    """Return the models by the names that the page shows; only a page for the host alone shows whole paths."""
    shown: dict[str, str] = {}
    for model in models:
        name = first = model if private else without_folders(model)
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
