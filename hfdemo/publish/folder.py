"""Which files of this folder are sent: only those that a Space needs, from an allow list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hfdemo.errors import PublishError
from hfdemo.publish import front_matter, program, requirements

ALLOWED = (
    "app.py",
    "README.md",
    "README.ko.md",
    "LICENSE",
    "requirements.txt",
    "hfdemo/**/*.py",
    "hfdemo/**/*.toml",
    "hfdemo/page/assets/*.css",
    "hfdemo/page/assets/*.js",
    "hfdemo/page/assets/*.svg",
    "docs/images/*.png",
)
"""The only files that may be sent: no `.env`, no logs, no caches."""

NEVER = ("__pycache__",)
"""Folders that are skipped anywhere, like hidden files and folders."""

NEEDED = ("app.py", "README.md", "requirements.txt", "hfdemo/__init__.py")


@dataclass(frozen=True, slots=True)
class SpaceFile:
    """A file as it is sent to the Space."""

    path: str
    content: bytes


def read_folder(folder: Path, title: str | None, zero_gpu: bool) -> list[SpaceFile]:
    """Return the files to send, sorted by name and adapted to the Space.

    Args:
        folder: the folder that contains `app.py`.
        title: the Space's title; None keeps the one in README.md.
        zero_gpu: whether the Space will run on ZeroGPU.

    Raises:
        PublishError: a file is missing or can't be read, or README.md has no front matter for the title.
    """
    contents = {}
    for path in sorted({path for pattern in ALLOWED for path in folder.glob(pattern) if path.is_file()}):
        name = path.relative_to(folder).as_posix()
        if _may_go(name):
            contents[name] = _read(path, name)
    for name in NEEDED:
        if name not in contents:
            raise PublishError("folder_lacks", file=name, folder=folder)
    if title:
        contents["README.md"] = front_matter.with_title(_text(contents, "README.md"), title).encode()
    asked = requirements.for_space(_text(contents, "requirements.txt"), zero_gpu)
    contents["requirements.txt"] = asked.encode()
    return [SpaceFile(name, content) for name, content in sorted(contents.items())]


def lint_folder(files: Sequence[SpaceFile], folder: Path, zero_gpu: bool) -> list[PublishError]:
    """Return what a Space would reject.

    Args:
        files: the files to send.
        folder: where they come from; its requirements.txt is checked as it is there.
        zero_gpu: whether the Space will run on ZeroGPU.
    """
    contents = {file.path: file.content for file in files}
    readme = _text(contents, "README.md")
    found = front_matter.lint(readme, contents.keys(), zero_gpu)
    try:
        sdk_version = str(front_matter.read(readme).get("sdk_version") or "")
    except PublishError:  # already reported
        sdk_version = ""
    found += requirements.lint((folder / "requirements.txt").read_text("utf-8"), sdk_version, zero_gpu)
    if zero_gpu:
        found += program.lint({name: _text(contents, name) for name in contents if name.endswith(".py")})
    return found


def _may_go(name: str) -> bool:
    return not any(part.startswith(".") or part in NEVER for part in PurePosixPath(name).parts)


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PublishError("folder_unreadable", file=name, problem=error.strerror) from None


def _text(contents: Mapping[str, bytes], name: str) -> str:
    try:
        return contents[name].decode("utf-8")
    except UnicodeDecodeError:
        raise PublishError("folder_unreadable", file=name, problem="UTF-8?") from None
