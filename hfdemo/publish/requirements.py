"""requirements.txt on a Space: what the Space's build brings itself, and what it would refuse.

Source: huggingface/skills, `huggingface-spaces`, and the errors of the builds: gradio and spaces are pinned by the
build, and ZeroGPU's image has a torch of its own.
"""

import re

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from hfdemo.errors import PublishError

PINNED_BY_BUILD = ("gradio", "spaces")
"""What every build installs in one fixed version, the first from `sdk_version` of README.md."""

ZERO_GPU_TORCH = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")
"""The versions of torch that ZeroGPU takes; its image has the newest of them."""

SHARED_WITH_BUILD = ("huggingface-hub", "pydantic", "uvicorn", "jinja2")
"""What the build installs, too, in a version that it chooses: a pin of another one ends the build."""

_OTHER_FILE = re.compile(r"-(?:r|c|e)\b|--(?:requirement|constraint|editable)\b")


def for_space(requirements: str, zero_gpu: bool) -> str:
    """Return the requirements as a Space gets them, without what its build brings itself.

    The range of huggingface_hub stays: the program needs what it asks for, and a range is no pin.
    """
    brought = {*PINNED_BY_BUILD, *(("torch",) if zero_gpu else ())}
    kept = [line for line in requirements.splitlines() if not (found := _read(line)) or _name(found) not in brought]
    return "\n".join(kept) + "\n"


def lint(requirements: str, sdk_version: str, zero_gpu: bool) -> list[PublishError]:
    """Return what a Space would not take in requirements.txt, as it is in this folder.

    Args:
        requirements: the whole file.
        sdk_version: the version of Gradio that the Space's build installs.
        zero_gpu: whether the Space is to run on ZeroGPU.
    """
    found: list[PublishError] = []
    for line in requirements.splitlines():
        try:
            requirement = _read(line)
        except InvalidRequirement:
            found.append(PublishError("requirement_unreadable", line=line.strip()))
            continue
        if _OTHER_FILE.match(line.strip()):
            found.append(PublishError("requirement_other_file", line=line.strip()))
        elif requirement and (finding := _lint_one(requirement, sdk_version, zero_gpu)):
            found.append(finding)
    return found


def _lint_one(requirement: Requirement, sdk_version: str, zero_gpu: bool) -> PublishError | None:
    name, asked = _name(requirement), requirement.specifier
    if name == "gradio" and sdk_version and not asked.contains(sdk_version, prereleases=True):
        return PublishError("requirement_gradio", line=requirement, version=sdk_version)
    if name == "torch" and zero_gpu and not any(map(asked.contains, ZERO_GPU_TORCH)):
        return PublishError("requirement_torch", line=requirement, versions=", ".join(ZERO_GPU_TORCH))
    pins = {specifier.operator for specifier in asked} & {"==", "==="}
    if name in SHARED_WITH_BUILD and pins:
        return PublishError("requirement_pin", line=requirement)
    return None


def _read(line: str) -> Requirement | None:
    """Return what a line asks for; None if it is a comment, an option or empty.

    Raises:
        InvalidRequirement: it is none of these.
    """
    text = re.sub(r"(^|\s)#.*", "", line).strip()
    return Requirement(text) if text and not text.startswith("-") else None


def _name(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)
