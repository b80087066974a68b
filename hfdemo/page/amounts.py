"""Rates and times in a person's words."""

import math

from hfdemo.words import Language, say


def rate_text(bytes_per_s: float, language: Language) -> str:
    """Return how fast bytes come."""
    megabytes = bytes_per_s / 1e6
    if megabytes >= 10:
        amount = f"{megabytes:.0f} MB"
    else:
        amount = f"{megabytes:.1f} MB" if megabytes >= 1 else f"{bytes_per_s / 1e3:.0f} kB"
    return say("status.rate", language, rate=amount)


def time_left_text(seconds: float, language: Language) -> str:
    """Return about how long something still takes; in steps of 5, so that it doesn't jump about."""
    if seconds <= 55:
        return say("status.left_seconds", language, seconds=max(5, 5 * math.ceil(seconds / 5)))
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return say("status.left_minutes", language, minutes=minutes)
    hours, minutes = divmod(5 * math.ceil(minutes / 5), 60)
    return say("status.left_hours", language, hours=hours, minutes=minutes)
