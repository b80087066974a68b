"""The Space on the Hub: looked at, made, and brought to what is wished for, changing only what differs."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceCard
from huggingface_hub.errors import RepositoryNotFoundError

from hfdemo.errors import PublishError
from hfdemo.publish.explain import explained
from hfdemo.publish.folder import SpaceFile

OURS = "hfdemo/"
"""The folder whose files are removed from the Space when they are gone from here."""

MADE_BY_THE_HUB = (".gitattributes", "README.md")
"""What is in a Space that nobody has sent anything to."""

PRIVATE = "private"
"""How that change is called; the only one for which a Space needn't start again."""

FIRST_MESSAGE = "A chat with a language model"
NEXT_MESSAGE = "Bring the chat up to date"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the Space is to be."""

    repo_id: str
    files: Sequence[SpaceFile]
    hardware: str | None
    """None leaves what the Space has."""
    private: bool
    """Whether only the owner may see it; False leaves an existing Space as it is."""
    variables: Mapping[str, str]
    secrets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """What a Space is now."""

    commit: str
    private: bool
    hardware: str | None
    stage: str
    files: Mapping[str, str]
    """The hash of each file's content: git's, or SHA-256 of a file that is stored apart."""


def look(api: HfApi, repo_id: str) -> Found | None:
    """Return what the Space is now; None if there is none.

    Raises:
        PublishError: the Hub can't be asked, or the Space holds another program.
    """
    with explained(repo_id):
        try:
            info = api.space_info(repo_id, files_metadata=True)
        except RepositoryNotFoundError:
            return None
        runtime = api.get_space_runtime(repo_id)
    files = {file.rfilename: _hash_there(file) for file in info.siblings or []}
    if set(files) - set(MADE_BY_THE_HUB) and f"{OURS}__init__.py" not in files:
        raise PublishError("space_of_another", space=repo_id)
    hardware = runtime.requested_hardware or runtime.hardware
    return Found(str(info.sha), bool(info.private), hardware, stage_name(runtime), files)


def stage_name(runtime: Any) -> str:
    """Return the stage that a Space is in, as the Hub writes it."""
    return str(getattr(runtime.stage, "value", runtime.stage))


def check_metadata(readme: str) -> None:
    """Ask the Hub whether it takes the front matter of README.md.

    Raises:
        PublishError: it doesn't; its words say why.
    """
    with explained(""):
        try:
            SpaceCard(readme, ignore_metadata_errors=True).validate()
        except ValueError as error:
            raise PublishError("front_refused", said=_messages(str(error))) from None


def create(api: HfApi, wish: Wish) -> None:
    """Make the Space, with hardware, secrets and variables from its first moment on.

    Raises:
        PublishError: the Hub refuses.
    """
    hardware = wish.hardware or ""
    with explained(wish.repo_id, hardware):
        api.create_repo(
            wish.repo_id,
            repo_type="space",
            space_sdk="gradio",
            space_hardware=hardware,
            space_secrets=[
                {"key": name, "value": value, "description": _seal(wish.repo_id, name, value)}
                for name, value in wish.secrets.items()
            ],
            space_variables=[{"key": name, "value": value} for name, value in wish.variables.items()],
            visibility=PRIVATE if wish.private else "public",
        )


def configure(api: HfApi, wish: Wish, found: Found) -> list[str]:
    """Change what differs in an existing Space's settings, and return the names of what was changed.

    Raises:
        PublishError: the Hub refuses.
    """
    changed = []
    with explained(wish.repo_id, wish.hardware or ""):
        if wish.private and not found.private:
            api.update_repo_settings(wish.repo_id, repo_type="space", visibility=PRIVATE)
            changed.append(PRIVATE)
        variables = api.get_space_variables(wish.repo_id) if wish.variables else {}
        for name, value in wish.variables.items():
            if name not in variables or variables[name].value != value:
                api.add_space_variable(wish.repo_id, name, value)
                changed.append(name)
        secrets = api.get_space_secrets(wish.repo_id) if wish.secrets else {}
        for name, value in wish.secrets.items():
            seal = _seal(wish.repo_id, name, value)
            if name not in secrets or secrets[name].description != seal:
                api.add_space_secret(wish.repo_id, name, value, description=seal)
                changed.append(name)
        if wish.hardware and wish.hardware != found.hardware:
            api.request_space_hardware(wish.repo_id, wish.hardware)
            changed.append(wish.hardware)
    return changed


def changed_files(wish: Wish, found: Found | None) -> tuple[list[SpaceFile], list[str]]:
    """Return the files that the Space lacks or has otherwise, and the names of those to remove from it."""
    there = found.files if found else {}
    changed = [file for file in wish.files if there.get(file.path) not in _hashes(file.content)]
    wanted = {file.path for file in wish.files}
    return changed, sorted(name for name in there if name.startswith(OURS) and name not in wanted)


def upload(api: HfApi, wish: Wish, found: Found | None) -> str | None:
    """Send the files that differ as one commit, and return its id; None if none differs.

    Raises:
        PublishError: the Hub refuses.
    """
    changed, gone = changed_files(wish, found)
    if not changed and not gone:
        return None
    operations = [
        *(CommitOperationAdd(file.path, file.content) for file in changed),
        *(CommitOperationDelete(name) for name in gone),
    ]
    message = NEXT_MESSAGE if found and f"{OURS}__init__.py" in found.files else FIRST_MESSAGE
    with explained(wish.repo_id):
        try:
            commit = api.create_commit(wish.repo_id, operations, commit_message=message, repo_type="space")
        except ValueError as error:  # a README that the Hub doesn't take, or a file that its storage doesn't
            raise PublishError("front_refused", said=_messages(str(error))) from None
    return str(commit.oid)


def _seal(repo_id: str, name: str, value: str) -> str:
    """Return a mark by which a secret is known again, as the Hub never shows its value.

    Whoever sees the mark may run code in the Space, and so may read the secret itself.
    """
    return f"hfdemo {hashlib.sha256(json.dumps([repo_id, name, value]).encode()).hexdigest()[:8]}"


def _hash_there(file: Any) -> str:
    return str(file.lfs.sha256 if file.lfs else file.blob_id)


def _hashes(content: bytes) -> tuple[str, str]:
    """Return the two hashes by which the Hub may know a content."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return git, hashlib.sha256(content).hexdigest()


def _messages(answer: str) -> str:
    """Return what the Hub said of a README: its answer is JSON, or a list with dashes."""
    try:
        found = [str(error["message"]) for error in json.loads(answer)["errors"]]
    except (ValueError, KeyError, TypeError):
        found = re.findall(r"^- (.+)$", answer, re.MULTILINE) or [answer]
    return "; ".join(found)
