"""requirements.txt on a Space: which packages the Space's build provides, and what it would reject.

Source: huggingface/skills, `huggingface-spaces`, and errors of real builds: the build pins gradio and spaces, and
ZeroGPU's image contains its own torch.
"""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from hfdemo.errors import PublishError

PINNED_BY_BUILD = ("gradio", "spaces")
"""The packages that every build pins, gradio to `sdk_version` of README.md."""

ZERO_GPU_TORCH = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")
"""The versions of torch that ZeroGPU supports; its image has the newest."""

SHARED_WITH_BUILD = ("huggingface-hub", "pydantic", "uvicorn", "jinja2")
"""Packages that the build installs, too, in versions it chooses: pinning another version fails the build."""

SPACE = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
"""The machine of a Space, as markers name it; its version of Python counts as the one that runs here."""

PEFT = "peft>=0.18,<1"
"""What a Space needs to load an adapter; the same as the package's extra."""

_OTHER_FILE = re.compile(r"-(?:r|c|e)\b|--(?:requirement|constraint|editable)\b")


def for_space(requirements: str, zero_gpu: bool) -> str:
    """Return the requirements for a Space: without the packages that its build provides, and none without a limit.

    The range of huggingface_hub stays: the program depends on it, and a range does not fail the build.
    """
    brought = {*PINNED_BY_BUILD, *(("torch",) if zero_gpu else ())}
    pinned = dict(pins(requirements, zero_gpu))
    kept = []
    for line in requirements.splitlines():
        requirement = _read_or_none(line)
        if requirement is None or _name(requirement) not in brought:
            kept.append(pinned.get(line.strip(), line))
    return "\n".join(kept) + "\n"


def names_in(requirements: str) -> set[str]:
    """Return the canonical names of the packages that are required."""
    found = map(_read_or_none, requirements.splitlines())
    return {_name(requirement) for requirement in found if requirement}


def pins(requirements: str, zero_gpu: bool) -> list[tuple[str, str]]:
    """Return the lines without an upper limit, with what is sent instead: the version that is installed here.

    A build would take whatever version is the newest that day, which nobody has tried.
    """
    return [(line, pinned) for line, pinned in _open_ended(requirements, zero_gpu) if pinned]


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
        elif requirement and requirement.url and _is_moving(requirement.url):
            found.append(PublishError("requirement_moving", line=line.strip()))
        elif requirement and _is_for_space(requirement) and (finding := _lint_one(requirement, sdk_version, zero_gpu)):
            found.append(finding)
    unlimited = [line for line, pinned in _open_ended(requirements, zero_gpu) if not pinned]
    return found + [PublishError("requirement_open", line=line) for line in unlimited]


def lint_names(requirements: str, needed: Iterable[str]) -> list[PublishError]:
    """Return what to say if nothing of what the program needs is asked for: a Space would bring gradio alone.

    Args:
        requirements: the whole file.
        needed: the program's dependencies, as in pyproject.toml.
    """
    names = [_name(Requirement(line)) for line in needed]
    wanted = [name for name in names if name not in PINNED_BY_BUILD]
    if not wanted or names_in(requirements) & set(wanted):
        return []
    return [PublishError("requirement_none", names=", ".join(wanted))]


def _open_ended(requirements: str, zero_gpu: bool) -> list[tuple[str, str]]:
    """Return the lines without an upper limit, each with the same that has one; "" if there is none to take here."""
    brought = {*PINNED_BY_BUILD, *(("torch",) if zero_gpu else ())}
    found = []
    for line in requirements.splitlines():
        requirement = _read_or_none(line)
        if requirement is None or requirement.url or _name(requirement) in brought or not _is_for_space(requirement):
            continue
        if {specifier.operator for specifier in requirement.specifier} & {"<", "<=", "==", "===", "~="}:
            continue
        found.append((line.strip(), _pinned(requirement)))
    return found


def _is_moving(url: str) -> bool:
    """Tell whether an address means the newest commit of a repository, whichever that is on the day of the build."""
    return url.startswith(("git+", "hg+", "svn+", "bzr+")) and "@" not in urlsplit(url).path


def _pinned(requirement: Requirement) -> str:
    """Return a requirement of the version that is installed here; "" if there is none that it allows."""
    try:
        found = version(requirement.name).partition("+")[0]  # without its local part
    except PackageNotFoundError:
        return ""
    if not requirement.specifier.contains(found, prereleases=True):
        return ""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}{extras}=={found}{marker}"


def _is_for_space(requirement: Requirement) -> bool:
    """Tell whether a Space installs what a marker may leave to other machines."""
    return requirement.marker is None or requirement.marker.evaluate(SPACE)


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


def _read_or_none(line: str) -> Requirement | None:
    """Return the requirement on a line; None for anything else, which `lint` names."""
    try:
        return _read(line)
    except InvalidRequirement:
        return None


def _name(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)
