"""A plan in words, for the page and the terminal."""

from hfdemo.models.plan import DOWNLOAD_BYTES_PER_S, Plan
from hfdemo.words import Language, say


def card_lines(plan: Plan, language: Language) -> list[tuple[str, str]]:
    """Return the lines of a plan's card, as pairs of a label and a value."""
    lines = [
        ("parameters", _count_text(plan.facts.parameters)),
        ("memory", _memory_text(plan, language)),
        ("plan", _way_text(plan, language)),
        ("download", _download_text(plan, language)),
    ]
    if plan.download_bytes:
        key = "fit.disk_enough" if plan.disk_fits else "fit.disk_too_small"
        lines.append(("disk", say(key, language, free=size_text(plan.machine.disk_free))))
    if plan.way != "none":
        lines.append(("speed", _speed_text(plan, language)))
    if plan.instead:
        lines.append(("instead", ", ".join(plan.instead)))
    return [(say(f"fit.{label}", language), value) for label, value in lines]


def _memory_text(plan: Plan, language: Language) -> str:
    parts = say(
        "fit.memory_parts",
        language,
        needed=size_text(plan.needed_bytes),
        free=size_text(plan.free_bytes),
        weights=size_text(plan.weights_bytes),
        cache=size_text(plan.cache_bytes),
        tokens=plan.context,
        rest=size_text(plan.activation_bytes + plan.program_bytes),
    )
    if plan.way == "none" or plan.most_bytes == plan.needed_bytes:
        return parts
    most, prefixes = size_text(plan.most_bytes), size_text(plan.prefix_bytes)
    return f"{parts}; {say('fit.memory_most', language, most=most, prefixes=prefixes, chats=plan.chats)}"


def _way_text(plan: Plan, language: Language) -> str:
    bits = plan.quantize or {"int8": "8bit", "auto": "8bit", "int4": "4bit"}.get(plan.cpu_weights)
    numbers = say(f"fit.in_{bits}", language) if bits else plan.dtype
    return say(f"fit.way_{plan.way}", language, gpu=plan.machine.gpu_name or "", numbers=numbers)


def _download_text(plan: Plan, language: Language) -> str:
    if not plan.download_bytes:
        return say("fit.download_none", language)
    return say(
        "fit.download_takes" if plan.download_s >= 60 else "fit.download_short",
        language,
        size=size_text(plan.download_bytes),
        minutes=round(plan.download_s / 60),
        mbits=round(DOWNLOAD_BYTES_PER_S[plan.machine.platform] * 8 / 1e6),
    )


def _speed_text(plan: Plan, language: Language) -> str:
    digits = 0 if plan.tokens_per_s >= 10 else 1
    return say(f"fit.speed_{plan.speed}", language, rate=f"{plan.tokens_per_s:.{digits}f}")


def size_text(count: int, digits: int = 1) -> str:
    """Return a number of bytes in MB or GB, the latter with `digits` decimals."""
    return gigabytes_text(count, digits) if count >= 1e9 else f"{count / 1e6:.0f} MB"


def gigabytes_text(count: int, digits: int = 1) -> str:
    """Return a number of bytes in GB, however small it is."""
    return f"{count / 1e9:.{digits}f} GB"


def _count_text(count: int) -> str:
    """Return a number of parameters the way models' names write it."""
    return f"{count / 1e9:.2f}B" if count >= 1e9 else f"{count / 1e6:.0f}M"
