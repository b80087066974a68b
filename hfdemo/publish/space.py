"""The Space on the Hub: reading, creating and updating it, changing only what differs."""

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
"""Files in this folder are deleted from the Space when they no longer exist here."""

ADAPTERS = "adapter/"
"""Where the Space has an adapter that came from the disk of whoever published it."""

MADE_BY_THE_HUB = (".gitattributes", "README.md")
"""The files of a new, empty Space."""

PRIVATE = "private"
"""The name of this change, the only one that doesn't restart a Space."""

FIRST_MESSAGE = "A chat with a language model"
NEXT_MESSAGE = "Bring the chat up to date"


@dataclass(frozen=True, slots=True)
class Target:
    """The state the Space should have."""

    repo_id: str
    files: Sequence[SpaceFile]
    hardware: str | None
    """None keeps the Space's hardware."""
    private: bool
    """Whether only the owner can see it; False leaves an existing Space as it is."""
    variables: Mapping[str, str]
    secrets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """The state a Space has now."""

    commit: str
    private: bool
    hardware: str | None
    stage: str
    files: Mapping[str, str]
    """The hash of each file: git's, or SHA-256 for a file in large file storage."""


def look(api: HfApi, repo_id: str) -> Found | None:
    """Return the Space's state; None if it doesn't exist.

    Raises:
        PublishError: the Hub can't be reached, or the Space contains another program.
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


def variables_of(api: HfApi, repo_id: str) -> dict[str, str]:
    """Return the variables of an existing Space, and its secrets with "" for the values, which the Hub never shows.

    Raises:
        PublishError: the Hub doesn't tell.
    """
    with explained(repo_id):
        variables = {name: str(one.value) for name, one in api.get_space_variables(repo_id).items()}
        return variables | dict.fromkeys(api.get_space_secrets(repo_id), "")


def stage_name(runtime: Any) -> str:
    """Return a Space's stage, as the Hub writes it."""
    return str(getattr(runtime.stage, "value", runtime.stage))


def check_metadata(readme: str) -> None:
    """Ask the Hub whether it accepts the front matter of README.md.

    Raises:
        PublishError: it doesn't; the text quotes the reason.
    """
    with explained(""):
        try:
            SpaceCard(readme, ignore_metadata_errors=True).validate()
        except ValueError as error:
            raise PublishError("front_refused", said=_messages(str(error))) from None


def create(api: HfApi, target: Target) -> None:
    """Create the Space with its hardware, secrets and variables, so that its first start has them.

    Raises:
        PublishError: the Hub rejects it.
    """
    hardware = target.hardware or ""
    with explained(target.repo_id, hardware):
        api.create_repo(
            target.repo_id,
            repo_type="space",
            space_sdk="gradio",
            space_hardware=hardware,
            space_secrets=[
                {"key": name, "value": value, "description": _fingerprint(target.repo_id, name, value)}
                for name, value in target.secrets.items()
            ],
            space_variables=[{"key": name, "value": value} for name, value in target.variables.items()],
            visibility=PRIVATE if target.private else "public",
        )


def configure(api: HfApi, target: Target, found: Found) -> list[str]:
    """Change the settings of an existing Space that differ, and return their names.

    Raises:
        PublishError: the Hub rejects a change.
    """
    changed = []
    with explained(target.repo_id, target.hardware or ""):
        if target.private and not found.private:
            api.update_repo_settings(target.repo_id, repo_type="space", visibility=PRIVATE)
            changed.append(PRIVATE)
        variables = api.get_space_variables(target.repo_id) if target.variables else {}
        for name, value in target.variables.items():
            if name not in variables or variables[name].value != value:
                api.add_space_variable(target.repo_id, name, value)
                changed.append(name)
        secrets = api.get_space_secrets(target.repo_id) if target.secrets else {}
        for name, value in target.secrets.items():
            fingerprint = _fingerprint(target.repo_id, name, value)
            if name not in secrets or secrets[name].description != fingerprint:
                api.add_space_secret(target.repo_id, name, value, description=fingerprint)
                changed.append(name)
        if target.hardware and target.hardware != found.hardware:
            api.request_space_hardware(target.repo_id, target.hardware)
            changed.append(target.hardware)
    return changed


def changed_files(target: Target, found: Found | None) -> tuple[list[SpaceFile], list[str]]:
    """Return the files that are new or differ, and the names of those to delete from the Space."""
    there = found.files if found else {}
    changed = [file for file in target.files if there.get(file.path) not in _hashes(file.content)]
    wanted = {file.path for file in target.files}
    brings_adapter = any(name.startswith(ADAPTERS) for name in wanted)
    ours = (OURS, ADAPTERS) if brings_adapter else (OURS,)
    return changed, sorted(name for name in there if name.startswith(ours) and name not in wanted)


def upload(api: HfApi, target: Target, found: Found | None) -> str | None:
    """Send the changed files as one commit, and return its id; None if nothing has changed.

    Raises:
        PublishError: the Hub rejects it.
    """
    changed, gone = changed_files(target, found)
    if not changed and not gone:
        return None
    operations = [
        *(CommitOperationAdd(file.path, file.content) for file in changed),
        *(CommitOperationDelete(name) for name in gone),
    ]
    message = NEXT_MESSAGE if found and f"{OURS}__init__.py" in found.files else FIRST_MESSAGE
    with explained(target.repo_id):
        try:
            commit = api.create_commit(target.repo_id, operations, commit_message=message, repo_type="space")
        except ValueError as error:  # the Hub rejects the README, or its storage rejects a file
            raise PublishError("front_refused", said=_messages(str(error))) from None
    return str(commit.oid)


def _fingerprint(repo_id: str, name: str, value: str) -> str:
    """Return a fingerprint to recognise a secret's value by, as the Hub never shows the value.

    Anyone who can see it can also run code in the Space, and so can read the secret itself.
    """
    return f"hfdemo {hashlib.sha256(json.dumps([repo_id, name, value]).encode()).hexdigest()[:8]}"


def _hash_there(file: Any) -> str:
    return str(file.lfs.sha256 if file.lfs else file.blob_id)


def _hashes(content: bytes) -> tuple[str, str]:
    """Return the two hashes that the Hub may use for a file's content."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return git, hashlib.sha256(content).hexdigest()


def _messages(answer: str) -> str:
    """Return the Hub's messages about a README: its answer is JSON, or a list with dashes."""
    try:
        found = [str(error["message"]) for error in json.loads(answer)["errors"]]
    except (ValueError, KeyError, TypeError):
        found = re.findall(r"^- (.+)$", answer, re.MULTILINE) or [answer]
    return "; ".join(found)
