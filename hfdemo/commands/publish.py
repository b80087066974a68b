"""`python -m hfdemo publish NAME`: create or update a Space from this folder, and print its address if it answers."""

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import HfApi, SpaceHardware

from hfdemo.commands.login import run_with_token
from hfdemo.commands.terminal import ask_unseen, exit_status, prepare_terminal
from hfdemo.environment import APP, ROOT
from hfdemo.errors import HfdemoError, PublishError
from hfdemo.interrupt import INTERRUPTED
from hfdemo.models.choose import HubModel, LocalModel, parse_model
from hfdemo.models.saved_token import saved_token
from hfdemo.publish.account import Publisher, check_rights, no_token_error, who_publishes
from hfdemo.publish.explain import ZERO_GPU
from hfdemo.publish.folder import SpaceFile, lint_folder, project_address, read_folder, read_requirements
from hfdemo.publish.leaks import find_leaks
from hfdemo.publish.life import FAILED, RESTING, RUNNING, last_log_lines, shown_lines, wait_for_end, wake
from hfdemo.publish.name import read_name
from hfdemo.publish.requirements import PEFT, names_in, pins
from hfdemo.publish.smoke import OPENING_S, ask_space, sees_sign_in
from hfdemo.publish.space import (
    ADAPTERS,
    PRIVATE,
    Found,
    Target,
    changed_files,
    check_metadata,
    configure,
    create,
    look,
    upload,
    variables_of,
)
from hfdemo.settings import CREDIT_SCOPE, Settings, find_platform, read_password
from hfdemo.words import Language, language_of_terminal, say, texts

LEAST_ANSWER_S = 60.0
"""The minimum time allowed for the answer, however long the build took."""

ALLOWED_USERS, CREDIT = "HFDEMO_ALLOWED_USERS", "HFDEMO_CREDIT"
"""The settings with which visitors sign in with Hugging Face."""


@dataclass(frozen=True, slots=True)
class _Model:
    """What the Space is to run."""

    name: str
    """As its `HFDEMO_MODEL`."""
    is_adapter: bool
    files: Sequence[SpaceFile] = ()
    """Those that go with the program."""


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """The options of the command line; see its help."""

    name: str
    title: str | None
    hardware: str | None
    private: bool
    model: str | None
    secrets: Sequence[str]
    wait_s: int
    dry_run: bool
    verbose: bool = False


def run(options: PublishOptions, language: Language | None) -> int:
    """Publish this folder, printing each step, and return the exit status: 0 if the Space answers.

    Args:
        options: the options of the command line.
        language: language of the output; None is the terminal's.
    """
    prepare_terminal()
    language = language or language_of_terminal(os.environ)
    try:
        if not APP.exists():
            raise PublishError("publish_no_project")
        platform = find_platform(os.environ)
        problems = run_with_token(lambda: _Publishing(options, language, os.environ).run(), platform, language)
    except HfdemoError as error:
        _print("✗", error.text(language))
        return exit_status(error)
    except KeyboardInterrupt:
        _print("\n…", say("publish.interrupted", language))
        return INTERRUPTED
    for problem in problems:  # of a dry run, which goes on after them; the last lines are what is read
        _print_places(problem.places)
        _print("✗", problem.error.text(language))
    return exit_status(problems[0].error) if problems else 0


@dataclass(frozen=True, slots=True)
class _Problem:
    """What keeps this folder from being published."""

    error: HfdemoError
    places: Sequence[str] = ()
    """Where it is, for people."""


class _Publishing:
    """One run of the command."""

    def __init__(self, options: PublishOptions, language: Language, environ: Mapping[str, str]) -> None:
        self._options = options
        self._language = language
        self._environ = environ
        self._api = HfApi(token=saved_token())
        self._secrets: dict[str, str] = {}
        self._there: dict[str, str] = {}
        self._problems: list[_Problem] = []
        self._scopes: Sequence[str] | None = None
        """What visitors let the Space do who sign in with Hugging Face; None if they need not."""

    def run(self) -> list[_Problem]:
        """Go from a name to an address that answers; return the problems of a dry run.

        Raises:
            HfdemoError: the first problem.
        """
        name = read_name(self._options.name, self._options.title)
        self._check_hardware()
        self._check_secret_names()
        model = self._model(self._options.model) if self._options.model else None
        variables = {"HFDEMO_MODEL": model.name} if model else {}
        variables |= {"HFDEMO_TITLE": name.title} if name.title else {}
        publisher = self._who()
        repo_id = f"{name.namespace or (publisher.name if publisher else '?')}/{name.name}"
        if publisher:
            check_rights(publisher, repo_id)
        found = look(self._api, repo_id) if publisher else None
        hardware = self._options.hardware or (found.hardware if found else None) or ZERO_GPU
        self._tell_space(repo_id, hardware, found)
        self._there = there = variables_of(self._api, repo_id) if found else {}
        self._scopes = self._find_scopes(there)
        is_adapter = model.is_adapter if model else self._is_adapter(there.get("HFDEMO_MODEL", ""))
        files = self._files(name.title, hardware == ZERO_GPU, self._page(repo_id), is_adapter)
        files += model.files if model else []
        self._secrets = self._read_secrets()
        self._check_leaks(files)
        wanted = self._options.hardware if found else hardware
        target = Target(repo_id, files, wanted, self._options.private, variables, self._secrets)
        if self._options.dry_run:
            self._show(target, found)
            return self._problems
        check_metadata(next(file.content.decode() for file in files if file.path == "README.md"))
        self._tell("✓", "checked")
        self._publish(target, found)
        return []

    def _meet(self, error: HfdemoError, places: Sequence[str] = ()) -> None:
        """Print what is wrong and end with it; a dry run keeps it for the end and goes on.

        Raises:
            HfdemoError: what is wrong.
        """
        if self._options.dry_run:
            self._problems.append(_Problem(error, places))
            return
        _print_places(places)
        raise error

    def _check_hardware(self) -> None:
        """Check the name of the hardware, if one is named.

        Raises:
            PublishError: the Hub's client doesn't know it.
        """
        known = [item.value for item in SpaceHardware]
        if self._options.hardware and self._options.hardware not in known:
            raise PublishError("bad_hardware", hardware=self._options.hardware, known=", ".join(known))

    def _check_secret_names(self) -> None:
        """Check the names of the secrets.

        Raises:
            PublishError: a Space can't have one of them.
        """
        for given in self._options.secrets:
            name, has_value, _ = given.partition("=")
            if has_value:
                raise PublishError("secret_shown", name=name)
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise PublishError("bad_secret_name", name=name)

    def _who(self) -> Publisher | None:
        """Print whose the access token is; a dry run works without one."""
        publisher = who_publishes(find_platform(self._environ))
        if publisher:
            facts = {"source": publisher.source, "name": publisher.name, "role": publisher.role}
            _print("✓", say("doctor.token", self._language, **facts))
            return publisher
        self._meet(no_token_error())
        return None

    def _model(self, named: str) -> _Model:
        """Return a model as the Space runs it, which can't see this machine's folders: an adapter goes with it.

        Raises:
            HfdemoError: the Space couldn't load it.
        """
        if Settings(model=named).is_remote:  # at a provider, which the Space asks
            return _Model(named, False)
        source = parse_model(named)
        if isinstance(source, HubModel):
            return _Model(named, self._check_on_hub(source))
        from hfdemo.publish.adapter import find_adapter_base, name_there, read_adapter  # which imports torch

        base = find_adapter_base(source) if isinstance(source, LocalModel) else None
        if base is None or not isinstance(source, LocalModel):
            raise PublishError("model_not_on_hub", model=named)
        self._check_on_hub(base)
        self._tell("✓", "adapter", model=source.name, base=base.name)
        return _Model(name_there(source), True, read_adapter(source))

    def _check_on_hub(self, source: HubModel) -> bool:
        """Check a model that the Space takes from the Hub, and tell whether it is an adapter."""
        try:
            return _check_for_space(source, self._environ)
        except HfdemoError as error:
            self._meet(error)
            return False

    def _is_adapter(self, named: str) -> bool:
        """Tell whether the model that an existing Space runs is an adapter, as far as that can be known."""
        if not named or named.startswith(f"./{ADAPTERS}"):
            return bool(named)
        try:
            source = parse_model(named)
            return isinstance(source, HubModel) and _check_for_space(source, self._environ)
        except HfdemoError:  # it has run it so far; nobody asked for another one
            return False

    def _tell_space(self, repo_id: str, hardware: str, found: Found | None) -> None:
        private = found.private if found else self._options.private
        facts = {"space": repo_id, "hardware": hardware, "visible": self._words("private" if private else "public")}
        if found:
            self._tell("✓", "space_there", stage=self._stage(found.stage), **facts)
        else:
            self._tell("✓", "space_new", **facts)

    def _find_scopes(self, there: Mapping[str, str]) -> Sequence[str] | None:
        """Return what visitors have to allow, by the Space's settings as they are there and as they are given here."""
        given = {name: self._environ.get(name, "").strip() for name in self._options.secrets}
        settings = {**there, **given}
        visitors_pay = settings.get(CREDIT, "host").strip().lower() != "host"
        names = [*([ALLOWED_USERS] if ALLOWED_USERS in settings else []), *([CREDIT] if visitors_pay else [])]
        if not names:
            return None
        self._tell("✓", "sign_in", name=", ".join(names))
        return (CREDIT_SCOPE,) if visitors_pay else ()

    def _files(self, title: str | None, zero_gpu: bool, page: str, is_adapter: bool) -> list[SpaceFile]:
        """Return the files to send, if a Space accepts them.

        Raises:
            PublishError: it doesn't; each reason has been printed.
        """
        packages = (PEFT,) if is_adapter else ()
        files = read_folder(ROOT, title, zero_gpu, page, project_address(ROOT), self._scopes, packages)
        for line, pinned in pins(read_requirements(ROOT), zero_gpu):
            self._tell("!", "pinned", line=line, pinned=pinned)
        if findings := lint_folder(files, ROOT, zero_gpu):
            lines = [finding.text(self._language) for finding in findings]
            self._meet(PublishError("publish_lint", count=len(findings)), lines)
        return files

    def _read_secrets(self) -> dict[str, str]:
        """Return the values of the secrets: from the environment, or typed without being shown."""
        secrets = {}
        for name in dict.fromkeys(self._options.secrets):
            value = self._environ.get(name, "").strip()
            if not value and self._options.dry_run:  # there is time for it until it is needed
                continue
            if not value and sys.stdin.isatty():
                value = ask_unseen(self._words("ask_secret", name=name))
            if not value:
                raise PublishError("secret_missing", name=name)
            if value == saved_token():
                self._tell("!", "secret_writes", name=name)
            secrets[name] = value
        return secrets

    def _check_leaks(self, files: Sequence[SpaceFile]) -> None:
        """Check that no file contains an access token or a secret.

        Raises:
            PublishError: a file does; each place has been printed.
        """
        known = self._secrets | ({"HF_TOKEN": token} if (token := saved_token()) else {})
        leaks = find_leaks(((file.path, file.content) for file in files), known)
        if leaks:
            facts = [{"file": leak.path, "line": leak.line, "kind": leak.kind} for leak in leaks]
            lines = [self._words("leak", **fact) for fact in facts]
            self._meet(PublishError("publish_leak", count=len(leaks)), lines)

    def _show(self, target: Target, found: Found | None) -> None:
        """Print what would be sent: how much, or each file."""
        changed, gone = changed_files(target, found)
        facts = {"count": len(changed), "same": len(target.files) - len(changed), "gone": len(gone)}
        self._tell("…", "dry_files", size=_size(changed), **facts)
        if self._options.verbose:
            for file in changed:
                _print("  +", f"{file.path} ({_size([file])})")
            for name in gone:
                _print("  -", name)
        elif changed or gone:
            _print("   ", self._words("dry_verbose"))
        for name, value in target.variables.items():
            _print("  =", f"{name} = {value}")
        for name in self._options.secrets:
            _print("  *", self._words("dry_secret", name=name))
        if target.hardware:
            _print("  >", self._words("dry_hardware", hardware=target.hardware))
        self._tell("✓", "dry_end")

    def _publish(self, target: Target, found: Found | None) -> None:
        """Create or update the Space, wait for it, and talk to it."""
        started = time.monotonic()
        commit = self._send(target, found)
        self._wait(target.repo_id, commit)
        left_s = self._options.wait_s - (time.monotonic() - started)
        patience_s = max(left_s, min(LEAST_ANSWER_S, self._options.wait_s))
        names = {*self._there, *self._secrets}
        password = read_password({**self._environ, **self._secrets}) if "HFDEMO_PASSWORD" in names else None
        asks = self._scopes is not None or names & {"HFDEMO_PASSWORD", "HFDEMO_USERS"}
        if asks and not password:
            sees_sign_in(target.repo_id, min(OPENING_S, patience_s))
            self._tell("✓", "answered_sign_in")
        else:
            self._tell("…", "asking")
            answer = ask_space(target.repo_id, self._language, patience_s, password)
            self._tell("✓", "answered", answer=answer)
        self._tell("✓", "address", page=self._page(target.repo_id))

    def _send(self, target: Target, found: Found | None) -> str | None:
        """Send what has changed, and return the commit that the Space is about to run.

        It is "" if the Space only restarts, and None if nothing changes for it.
        """
        settings = []
        if found is None:
            create(self._api, target)
            self._tell("✓", "created", space=target.repo_id)
        elif settings := configure(self._api, target, found):
            self._tell("✓", "settings_changed", names=", ".join(settings))
        changed, gone = changed_files(target, found)
        commit = upload(self._api, target, found)
        if commit:
            self._tell("✓", "sent", changed=len(changed), size=_size(changed), gone=len(gone))
        else:
            self._tell("✓", "nothing_sent" if settings else "nothing_changed")
        restarts = bool(commit or set(settings) - {PRIVATE})
        if found and (found.stage in RESTING or (found.stage in FAILED and not restarts)):
            self._tell("…", "waking", stage=self._stage(found.stage))
            wake(self._api, target.repo_id, found.stage)
            return commit or ""
        return commit or ("" if restarts else None)

    def _wait(self, repo_id: str, commit: str | None) -> None:
        """Wait until the Space runs, printing its stages.

        Raises:
            PublishError: it fails, or takes too long; the end of its log has been printed.
        """
        result = wait_for_end(self._api, repo_id, commit, self._options.wait_s, self._tell_stage)
        if result.in_time and result.stage == RUNNING:
            return
        lines = last_log_lines(self._api, repo_id, result.stage, self._secrets)
        lines += shown_lines(result.message, self._secrets)
        if lines:
            self._tell("…", "log")
        for line in lines:
            _print("  |", line)
        facts = {"space": repo_id, "stage": result.stage, "page": f"{self._page(repo_id)}?logs=container"}
        if result.in_time:
            raise PublishError("space_failed", **facts)
        raise PublishError("space_too_slow", seconds=self._options.wait_s, **facts)

    def _page(self, repo_id: str) -> str:
        return f"{self._api.endpoint}/spaces/{repo_id}"

    def _tell_stage(self, stage: str) -> None:
        _print("…", self._stage(stage))

    def _stage(self, stage: str) -> str:
        """Return a stage in words, or as the Hub writes it if it isn't known here."""
        key = f"publish.stage_{stage.lower()}"
        return say(key, self._language) if key in texts(self._language) else stage

    def _tell(self, mark: str, key: str, **facts: object) -> None:
        _print(mark, self._words(key, **facts))

    def _words(self, key: str, **facts: object) -> str:
        return say(f"publish.{key}", self._language, **facts)


def _check_for_space(source: HubModel, environ: Mapping[str, str]) -> bool:
    from hfdemo.models.check import check_for_space  # which imports torch

    return check_for_space(source, names_in(read_requirements(ROOT)), find_platform(environ))


def _size(files: Sequence[SpaceFile]) -> str:
    size = sum(len(file.content) for file in files)
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def _print_places(places: Sequence[str]) -> None:
    for place in places:
        _print("  -", place)


def _print(mark: str, text: str) -> None:
    print(f"{mark} {text}", flush=True)  # noqa: T201
