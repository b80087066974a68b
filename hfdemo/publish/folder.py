"""Which files of this folder are sent: only those that a Space needs, from an allow list."""

import configparser
import posixpath
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

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
    "hfdemo/page/assets/scripts/*.js",
    "hfdemo/page/assets/*.svg",
    "docs/*.en.md",  # what both READMEs lead to, so that it's also there for whoever finds only the Space
    "docs/*.ko.md",
    "docs/images/*.png",
)
"""The only files that may be sent: no `.env`, no logs, no caches."""

NEVER = ("__pycache__",)
"""Folders that are skipped anywhere, like hidden files and folders."""

_LINK = re.compile(
    r"""(?P<before>(?<!!)\[[^\]]*\]\(|!\[[^\]]*\]\(|\bsrc=")(?P<path>[^)"\s:#][^)"\s:]*)(?P<after>[)"])"""
)
"""A link or a picture that is named by its path."""

NEEDED = ("app.py", "README.md", "requirements.txt", "hfdemo/__init__.py")


@dataclass(frozen=True, slots=True)
class SpaceFile:
    """A file as it is sent to the Space."""

    path: str
    content: bytes


def read_folder(
    folder: Path,
    title: str | None,
    zero_gpu: bool,
    page: str = "",
    project: str = "",
    scopes: Sequence[str] | None = None,
    packages: Sequence[str] = (),
) -> list[SpaceFile]:
    """Return the files to send, sorted by name and adapted to the Space.

    Args:
        folder: the folder that contains `app.py`.
        title: the Space's title; None keeps the one in README.md.
        zero_gpu: whether the Space will run on ZeroGPU.
        page: the address of the Space's page, for the links in what people read; "" leaves them as they are.
        project: the address of a repository that holds the whole folder, for links to files that aren't sent.
        scopes: what visitors let the Space do who sign in with Hugging Face; None if that isn't needed.
        packages: what the Space needs besides, as in requirements.txt.

    Raises:
        PublishError: a file is missing or can't be read, or README.md has no front matter for what it has to say.
    """
    contents = {}
    for path in sorted({path for pattern in ALLOWED for path in folder.glob(pattern) if path.is_file()}):
        name = path.relative_to(folder).as_posix()
        if _may_go(name):
            _refuse_outside(path, folder, name)
            contents[name] = read_file(path, name)
    for name in NEEDED:
        if name not in contents:
            raise PublishError("folder_lacks", file=name, folder=folder)
    readme = _text(contents, "README.md")
    if title:
        readme = front_matter.with_title(readme, title)
    if scopes is not None:
        readme = front_matter.with_sign_in(readme, scopes)
    contents["README.md"] = readme.encode()
    if page:
        for name in [name for name in contents if name.endswith(".md")]:
            text = with_absolute_links(_text(contents, name), name, contents, page, project)
            contents[name] = text.encode()
    asked = requirements.for_space(_text(contents, "requirements.txt"), zero_gpu)
    contents["requirements.txt"] = "".join([asked, *(f"{package}\n" for package in packages)]).encode()
    return [SpaceFile(name, content) for name, content in sorted(contents.items())]


def project_address(folder: Path) -> str:
    """Return the address of the repository that a folder was cloned from; "" if it isn't known, or no web page.

    Read from git's own file, because git may not be installed.
    """
    config = configparser.ConfigParser(strict=False, allow_no_value=True)
    try:
        config.read_string((folder / ".git" / "config").read_text("utf-8"))
        url = config.get('remote "origin"', "url")
    except (OSError, UnicodeDecodeError, configparser.Error):
        return ""
    url = re.sub(r"^(?:ssh://)?git@([\w.-]+)[:/]", r"https://\1/", url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    return f"https://{parts.hostname}{parts.path.removesuffix('/').removesuffix('.git')}"  # without a name or password


def with_absolute_links(text: str, name: str, sent: Collection[str], page: str, project: str) -> str:
    """Return a Markdown file whose links work on the page of a Space.

    Args:
        text: the whole file.
        name: where it lies, which its links are relative to.
        sent: the files that the Space has.
        page: the address of the Space's page.
        project: the address of a repository with the other files; "" if there is none, and links to them go.
    """

    def absolute(match: re.Match[str]) -> str:
        link, _, place = match["path"].partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
        is_picture = not match["before"].startswith("[")
        if path in sent:
            address = f"{page}/{'resolve' if is_picture else 'blob'}/main/{path}"
        elif project:
            address = f"{project}/{'raw' if is_picture else 'blob'}/HEAD/{path}"
        else:
            return match[0] if is_picture else match["before"][1:-2]  # the words of the link
        return f"{match['before']}{address}{'#' + place if place else ''}{match['after']}"

    return _LINK.sub(absolute, text)


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
    asked = read_requirements(folder)
    found += requirements.lint(asked, sdk_version, zero_gpu) + requirements.lint_names(asked, _dependencies(folder))
    if zero_gpu:
        found += program.lint({name: _text(contents, name) for name in contents if name.endswith(".py")})
    return found


def _dependencies(folder: Path) -> list[str]:
    """Return what pyproject.toml says that the program needs; nothing where it isn't there."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return []
    return [str(line) for line in project.get("dependencies", ())]


def read_requirements(folder: Path) -> str:
    """Return this folder's requirements.txt, as it is here.

    Raises:
        PublishError: it can't be read.
    """
    name = "requirements.txt"
    return _text({name: read_file(folder / name, name)}, name)


def _may_go(name: str) -> bool:
    return not any(part.startswith(".") or part in NEVER for part in PurePosixPath(name).parts)


def _refuse_outside(path: Path, folder: Path, name: str) -> None:
    """Refuse a link out of the folder: what it leads to would be sent, whatever that is.

    Raises:
        PublishError: it is one.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise PublishError("folder_link_outside", file=name, target=path.resolve())


def read_file(path: Path, name: str) -> bytes:
    """Return a file's content.

    Raises:
        PublishError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PublishError("folder_unreadable", file=name, problem=error.strerror) from None


def _text(contents: Mapping[str, bytes], name: str) -> str:
    try:
        return contents[name].decode("utf-8-sig")  # without a byte order mark, which would hide the front matter
    except UnicodeDecodeError:
        raise PublishError("file_not_utf8", file=name) from None
