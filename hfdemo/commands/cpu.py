"""How this CPU computes, for people."""

from hfdemo.models.plan import Machine
from hfdemo.words import Language, say

QUESTIONS = ("attention", "rows")
WAYS = ("together", "apart", "packed", "unpacked", "bfloat16", "float32")
"""What there are words for; what an earlier version found by other names isn't told."""


def cpu_line(machine: Machine, language: Language) -> str:
    """Return in which numbers the CPU computes, and what was found to be faster on it when models were loaded."""
    from hfdemo.compute.faster import read_choices

    known = [choice for choice in read_choices() if choice.question in QUESTIONS and choice.way in WAYS]
    lines = (
        say(f"doctor.faster_{one.question}", language, **one.facts, way=say(f"doctor.way_{one.way}", language))
        for one in known
    )
    found = "".join(f"\n    {line}" for line in lines)
    measured = say("doctor.measured", language, found=found) if found else say("doctor.unmeasured", language)
    return f"{say('doctor.cpu', language, dtype=machine.cpu_dtype)} {measured}"
