"""requirements.txt on a Space: which packages the Space's build provides, and what it would reject.

Source: huggingface/skills, `huggingface-spaces`, and errors of real builds: the build pins gradio and spaces, and
ZeroGPU's image contains its own torch.
"""

import re

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from hfdemo.errors import PublishError

PINNED_BY_BUILD = ("gradio", "spaces")
"""The packages that every build pins, gradio to `sdk_version` of README.md."""

ZERO_GPU_TORCH = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")
"""The versions of torch that ZeroGPU supports; its image has the newest."""

SHARED_WITH_BUILD = ("huggingface-hub", "pydantic", "uvicorn", "jinja2")
"""Packages that the build installs, too, in versions it chooses: pinning another version fails the build."""

_OTHER_FILE = re.compile(r"-(?:r|c|e)\b|--(?:requirement|constraint|editable)\b")


def for_space(requirements: str, zero_gpu: bool) -> str:
    """Return the requirements for a Space, without the packages that its build provides.

    The range of huggingface_hub stays: the program depends on it, and a range does not fail the build.
    """
    brought = {*PINNED_BY_BUILD, *(("torch",) if zero_gpu else ())}
    kept = [line for line in requirements.splitlines() if not (found := _read(line)) or _name(found) not in brought]
    return "\n".join(kept) + "\n"


def lint(requirements: str, sdk_version: str, zero_gpu: bool) -> list[PublishError]:
    """Return what a Space would reject in this folder's requirements.txt.

    Args:
        requirements: the whole file.
        sdk_version: the version of Gradio that the Space's build installs.
        zero_gpu: whether the Space will run on ZeroGPU.
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
    """Return the requirement on a line; None for a comment, an option or an empty line.

    Raises:
        InvalidRequirement: the line is something else.
    """
    text = re.sub(r"(^|\s)#.*", "", line).strip()
    return Requirement(text) if text and not text.startswith("-") else None


def _name(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)
