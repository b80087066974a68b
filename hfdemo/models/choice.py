"""What a menu shows of a model that can be chosen."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that can be chosen."""

    name: str
    """As in `HFDEMO_MODEL`."""
    stored_bytes: int | None
    """How much is to be downloaded, or lies on the disk; None if that isn't known."""
    on_disk: bool | None
    """None if it runs elsewhere."""
    fits: bool | None
    """Whether it fits this machine; None if that isn't known."""
