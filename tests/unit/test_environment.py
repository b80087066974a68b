"""`python -m hfdemo` makes an environment of its own, once, and runs the chat or the tests in it.

All this happens in a small copy of the project, whose packages pip finds in a folder.
"""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import hfdemo
from hfdemo import environment
from hfdemo.__main__ import main, script
from hfdemo.commands import publish
from hfdemo.errors import own_command
from hfdemo.python_version import require_python
from hfdemo.words import say
from tests.conftest import ROOT

needs_venv = pytest.mark.skipif(
    importlib.util.find_spec("ensurepip") is None, reason="this Python can't make environments with pip"
)

BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)
"""The interpreter outside of any virtual environment."""


def make_package(folder: Path, name: str, version: str, main_py: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"version = {version!r}\n")
        archive.writestr(f"{name}/__main__.py", main_py)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@dataclass
class Project:
    """A copy of the project whose app only says what it was started with."""

    folder: Path

    def run(
        self, *arguments: str, python: str | Path = BASE_PYTHON, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        packages = self.folder / "packages"
        return subprocess.run(
            [str(python), "-m", "hfdemo", *arguments],
            cwd=self.folder,
            env=os.environ
            | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(packages), "PIP_CONFIG_FILE": os.devnull, "LANG": "C"}
            | environ,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def require(self, requirements: str) -> None:
        (self.folder / "requirements.txt").write_text(requirements)

    @property
    def python(self) -> Path:
        return self.folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that was started once."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "hfdemo").mkdir()
    for name in (
        "__init__.py",
        "__main__.py",
        "arguments.py",
        "environment.py",
        "interrupt.py",
        "python_version.py",
        "settings.py",
        "errors.py",
        "variables.py",
    ):
        shutil.copy(ROOT / "hfdemo" / name, folder / "hfdemo" / name)
    shutil.copytree(ROOT / "hfdemo" / "words", folder / "hfdemo" / "words")
    (folder / "app.py").write_text("import sys, needed\nprint('app', needed.version, sys.prefix)\nsys.exit(5)\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "requirements.txt").write_text("pytest==0.1\n")
    (folder / "packages").mkdir()
    make_package(folder / "packages", "needed", "1.0")
    make_package(folder / "packages", "needed", "2.0")
    make_package(folder / "packages", "pytest", "0.1", "import sys\nprint('tests', sys.argv[1:])\nsys.exit(3)\n")
    project = Project(folder)
    project.require("needed==1.0\n")
    first = project.run("start")
    assert first.returncode == 5, first.stdout + first.stderr
    assert f"Creating a virtual environment in {folder / '.venv'}" in first.stdout
    assert "Installing the requirements" in first.stdout
    assert f"app 1.0 {folder / '.venv'}" in first.stdout
    return project


@needs_venv
def test_the_second_start_makes_and_installs_nothing(project):
    project.require("needed==1.0\n")
    project.run("start")
    second = project.run("start")
    assert second.stdout == f"app 1.0 {project.folder / '.venv'}\n"
    assert second.returncode == 5


@needs_venv
def test_changed_requirements_are_installed_into_the_environment_that_is_there(project):
    project.require("needed==2.0\n")
    changed = project.run("start")
    assert "Installing the requirements" in changed.stdout and "Creating" not in changed.stdout
    assert "app 2.0" in changed.stdout
    assert project.run("start").stdout == f"app 2.0 {project.folder / '.venv'}\n"


@needs_venv
def test_a_socks_proxy_that_pip_cant_use_is_named(project):
    project.require("needed==9.9\n")
    failed = project.run("start", all_proxy="socks5://127.0.0.1:9")
    assert failed.returncode == 1 and "pip can't use the SOCKS proxy in all_proxy" in failed.stderr
    project.require("needed==1.0\n")


@needs_venv
@pytest.mark.parametrize("gone", ["needed", "needed-1.0.dist-info", "below"])
def test_a_package_that_is_gone_is_installed_again(project, gone):
    make_package(project.folder / "packages", "below", "1.0")
    project.require("needed==1.0\nbelow==1.0\n")
    project.run("start")
    [folder] = project.folder.glob(f".venv/lib/python*/site-packages/{gone}")
    shutil.rmtree(folder)
    again = project.run("start")
    assert "Installing the requirements" in again.stdout and "app 1.0" in again.stdout
    assert folder.exists()
    assert project.run("start").stdout == f"app 1.0 {project.folder / '.venv'}\n"


@needs_venv
def test_a_package_of_ones_own_may_go(project):
    project.require("needed==1.0\n")
    [site] = project.folder.glob(".venv/lib/python*/site-packages")
    (site / "own").mkdir()
    project.require("needed==1.0\n# again\n")
    project.run("start")
    (site / "own").rmdir()
    assert "app 1.0" in project.run("start").stdout
    assert project.run("start").stdout == f"app 1.0 {project.folder / '.venv'}\n"


@needs_venv
def test_requirements_that_cant_be_installed_end_the_start_with_pips_reason(project):
    project.require("needed==9.9\n")
    for _ in range(2):  # nothing is taken for installed
        failed = project.run("start")
        assert failed.returncode == 1
        assert "needed==9.9" in failed.stderr and "pip could not install the requirements" in failed.stderr
        assert "app" not in failed.stdout
    project.require("needed==1.0\n")
    assert "app 1.0" in project.run("start").stdout


@needs_venv
def test_the_tests_get_their_own_requirements_and_arguments_and_give_their_status(project):
    project.require("needed==1.0\n")
    first = project.run("test", "-k", "some thing", "--maxfail=1")
    assert "Installing the requirements" in first.stdout
    assert first.stdout.endswith("tests ['-k', 'some thing', '--maxfail=1']\n")
    assert first.returncode == 3
    assert project.run("test").stdout == "tests []\n"


@needs_venv
def test_a_page_whose_model_runs_elsewhere_gets_only_what_it_needs(project, monkeypatch):
    for name in environment.PAGE_PACKAGES:
        make_package(project.folder / "packages", name, "1.0")
    project.require("# ranges\naccelerate>=1\ngradio>=1,<2\nhuggingface_hub>=1,<2\ntorch>=2\n")  # two can't be had
    assert "pip could not install" in project.run("start").stderr
    monkeypatch.setenv("HFDEMO_ENDPOINT", "http://127.0.0.1:8000")
    first = project.run("start")
    assert "Installing the requirements" in first.stdout and "app" in first.stdout
    assert project.run("start").stdout.startswith("app")
    monkeypatch.delenv("HFDEMO_ENDPOINT")
    assert "pip could not install" in project.run("start").stderr


@needs_venv
def test_an_environment_that_is_active_is_used(project):
    project.require("needed==1.0\n")
    answer = project.run("start", python=project.python)
    assert "Creating" not in answer.stdout
    assert f"app 1.0 {project.folder / '.venv'}" in answer.stdout


@pytest.mark.parametrize("error", [subprocess.CalledProcessError(1, "ensurepip"), KeyboardInterrupt()], ids=repr)
def test_half_an_environment_is_taken_away_again(error, tmp_path, monkeypatch):
    def create(folder: Path, **_: object) -> None:
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()
        raise error

    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment.venv, "create", create)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(SystemExit if isinstance(error, Exception) else KeyboardInterrupt) as ended:
        environment._environment_python()
    assert not (tmp_path / ".venv").exists()
    assert isinstance(error, KeyboardInterrupt) or "apt install python3-venv" in str(ended.value)


@pytest.mark.parametrize("arguments", [["--help"], ["start", "--help"]])
def test_help_says_what_the_commands_do_without_any_package(arguments, tmp_path):
    command = [BASE_PYTHON, "-S", "-m", "hfdemo", *arguments]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=20).stdout
    assert own_command() in shown
    if len(arguments) == 1:
        assert "install the requirements and start the chat" in shown
        assert "install the requirements and run the tests" in shown


@pytest.mark.parametrize("arguments", [[], ["dance"], ["start", "model", "extra"]])
def test_a_command_that_is_none_is_refused_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert f"usage: {own_command()}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["-x"], ["-k", "one or two", "tests/unit"], ["--help"], ["--cov=hfdemo", "-q", "tests::a[b]"]]
)
def test_every_argument_after_test_is_pytests(arguments, monkeypatch):
    passed: list[list[str]] = []
    monkeypatch.setattr(environment, "test", lambda given: passed.append(given) or 7)
    assert main(["test", *arguments]) == 7
    assert passed == [arguments]


def test_a_share_link_lasts_as_long_as_the_page_says(capsys):
    with pytest.raises(SystemExit):
        main(["start", "--help"])
    assert "up to a week" in " ".join(capsys.readouterr().out.split())
    assert "up to a week" in say("start.link_lasts")


def test_an_installed_package_cant_be_published_and_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(publish, "APP", tmp_path / "app.py")
    assert main(["publish", "x", "--dry-run", "--language", "en"]) == 36
    assert "Run this in a folder with the whole project." in capsys.readouterr().out


def test_start_gives_the_apps_exit_status(monkeypatch):
    monkeypatch.setattr(environment, "start", lambda page_only, variables: 4)
    assert main(["start"]) == 4


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ([], {}),
        (["org/m"], {"HFDEMO_MODEL": "org/m"}),
        (
            ["--port", "80", "--host", "0.0.0.0", "--share", "--language", "ko"],
            {
                "GRADIO_SERVER_PORT": "80",
                "GRADIO_SERVER_NAME": "0.0.0.0",
                "GRADIO_SHARE": "true",
                "HFDEMO_LANGUAGE": "ko",
            },
        ),
    ],
)
def test_what_start_is_given_are_the_variables(arguments, variables, monkeypatch):
    given: list[dict[str, str]] = []
    monkeypatch.setattr(environment, "start", lambda page_only, variables: given.append(variables) or 0)
    assert main(["start", *arguments]) == 0
    assert given == [variables]


ENDPOINT = {"HFDEMO_ENDPOINT": "http://127.0.0.1:8000"}


@pytest.mark.parametrize(
    ("arguments", "variables", "page_only"),
    [
        (["doctor"], ENDPOINT, True),
        (["check", "org/m"], ENDPOINT, True),
        (["check", "org/m:groq"], {}, True),
        (["doctor", "org/m"], {"HFDEMO_MODEL": "org/m:groq"}, False),
        (["doctor"], {"HFDEMO_MODEL": "org/m"}, False),
        (["prompt", "-"], ENDPOINT, False),
        (["publish", "x", "--model", "org/m"], ENDPOINT, False),
    ],
)
def test_only_a_command_that_asks_another_server_needs_no_more_than_the_page(
    arguments, variables, page_only, monkeypatch
):
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(environment, "is_elsewhere", lambda page_only: not asked.append(("here?", page_only)))
    monkeypatch.setattr(environment, "run_command", lambda _, page_only: asked.append(("run", page_only)) or 6)
    monkeypatch.delenv("HFDEMO_MODEL", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 6
    assert asked == [("here?", page_only), ("run", page_only)]


RANGES = """# tested
gradio>=6.31,<6.32
huggingface_hub>=2.4,<3
psutil>=7.2,<8
torch>=2.8,<2.14
transformers>=5.24,<5.25
"""
IN_RANGE = {
    "gradio": "6.31.0",
    "huggingface_hub": "2.10.1",
    "psutil": "7.2",
    "torch": "2.8.0+cu128",
    "transformers": "5.24.3",
}


@pytest.mark.parametrize(
    ("changes", "page_only", "in_environment", "elsewhere"),
    [
        ({}, False, False, False),
        ({"torch": None}, False, False, True),
        ({"torch": None}, False, True, True),
        ({"torch": None}, True, False, False),
        ({"psutil": None}, False, False, True),
        ({"gradio": None}, True, True, True),
        ({"transformers": "4.57.1"}, False, False, True),
        ({"transformers": "5.25.0"}, False, False, True),
        ({"transformers": "4.57.1"}, True, False, False),
        ({"transformers": "4.57.1"}, False, True, False),  # which `start` would run in, too
        ({"gradio": "5.0"}, True, False, True),
    ],
)
def test_a_python_with_libraries_of_other_programs_is_not_where_commands_run(
    changes, page_only, in_environment, elsewhere, monkeypatch, tmp_path
):
    there = {name: found for name, found in (IN_RANGE | changes).items() if found}
    (tmp_path / "requirements.txt").write_text(RANGES)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "APP_REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setattr(environment, "version", there.__getitem__)
    monkeypatch.setattr("hfdemo.environment.importlib.util.find_spec", there.get)
    monkeypatch.setattr(sys, "prefix", str(tmp_path) if in_environment else sys.base_prefix)
    assert environment.is_elsewhere(page_only) is elsewhere
    monkeypatch.setattr(environment, "APP", tmp_path / "app.py")
    assert not environment.is_elsewhere(page_only), "an installed package has no other place"


def test_the_installed_script_starts_the_chat_if_it_is_given_nothing_else(monkeypatch):
    monkeypatch.setattr(environment, "start", lambda page_only, variables: 4)
    monkeypatch.setattr(sys, "argv", ["hfdemo"])
    assert script() == 4
    monkeypatch.setattr(sys, "argv", ["hfdemo", "--version"])
    with pytest.raises(SystemExit) as ended:
        script()
    assert ended.value.code == 0


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"hfdemo {hfdemo.__version__}\n"


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "start", interrupted)
    assert main(["start"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


@pytest.mark.parametrize(
    ("command", "imported"),
    [(["-m", "hfdemo"], name) for name in ("argparse", "subprocess")]
    + [(["app.py"], name) for name in ("logging", "subprocess")],
)
def test_ctrl_c_while_it_is_imported_is_one_line(command, imported, tmp_path):
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # also behind a shell that has it ignored
    (tmp_path / f"{imported}.py").write_text(f"import os, signal\n{heeded}\nos.kill(os.getpid(), signal.SIGINT)\n")
    environ = os.environ | {"PYTHONPATH": str(tmp_path), "HFDEMO_LANGUAGE": "ko", "PYTHONIOENCODING": "utf-8"}
    started = [sys.executable, *command]
    ended = subprocess.run(started, cwd=ROOT, env=environ, capture_output=True, encoding="utf-8", check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "\n중지했습니다.\n")


@pytest.mark.parametrize("command", [["check", "."], ["doctor"], ["prompt", "-"]], ids=lambda command: command[0])
def test_ctrl_c_is_one_line_where_a_library_makes_another_error_of_it(command, tmp_path):
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    (tmp_path / "sitecustomize.py").write_text(f"import signal\n{heeded}\n")
    swallowed = (
        "try: os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException: raise ImportError('no torch') from None"
    )
    (tmp_path / "torch.py").write_text(f"import os, signal\n{swallowed}\n")
    environ = os.environ | {"PYTHONPATH": str(tmp_path), "HFDEMO_LANGUAGE": "ko", "PYTHONIOENCODING": "utf-8"}
    started = [sys.executable, "-m", "hfdemo", *command]
    ended = subprocess.run(
        started, cwd=ROOT, env=environ, capture_output=True, encoding="utf-8", input="[]", check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "\n중지했습니다.\n")


@pytest.mark.parametrize("old", [(3, 8, 10), (3, 9), (3, 10, 12)])
def test_an_old_python_is_told_in_one_sentence_in_both_languages(old, monkeypatch, tmp_path):
    for name, status in (("python3.13", 127), ("python3.12", 0), ("python3.11", 0)):  # the first as pyenv's are
        (tmp_path / name).write_text(f"#!/bin/sh\necho pyenv >&2\nexit {status}\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        require_python(old)
    english, korean = str(ended.value.code).splitlines()
    assert f"this is Python {old[0]}.{old[1]}." in english and "python3.12 -m hfdemo start" in english
    assert "3.11 이상" in korean and "python3.12 -m hfdemo start" in korean
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"https://www\.python\.org/downloads/"):
        require_python(old)
    require_python((3, 11))


@pytest.mark.parametrize("name", ["__main__.py", "__init__.py", "interrupt.py", "python_version.py"])
def test_what_an_old_python_reads_first_is_written_for_it(name):
    ast.parse((ROOT / "hfdemo" / name).read_text("utf-8"), feature_version=(3, 8))
    ast.parse((ROOT / "app.py").read_text("utf-8"), feature_version=(3, 8))
    for file in (ROOT / "app.py", ROOT / "hfdemo" / "__main__.py"):
        before, _, _ = file.read_text("utf-8").partition("require_python()\n")
        imported = {line.split()[1] for line in before.splitlines() if line.startswith(("import ", "from "))}
        assert imported <= {*sys.stdlib_module_names, "collections.abc", "hfdemo.interrupt", "hfdemo.python_version"}


@needs_venv
@pytest.mark.parametrize("broken", ["no pip", "does not run"])
def test_an_environment_that_does_not_work_is_made_again(project, broken):
    project.require("needed==1.0\n")
    project.run("start")
    if broken == "no pip":
        [pip] = project.folder.glob(".venv/lib/python*/site-packages/pip")
        shutil.rmtree(pip)
    else:  # as one that was made by a Python that is gone, or too old
        project.python.unlink()
        project.python.write_text("#!/bin/sh\nexit 1\n")
        project.python.chmod(0o755)
    again = project.run("start")
    assert "Creating a virtual environment" in again.stdout and "app 1.0" in again.stdout


@needs_venv
@pytest.mark.parametrize("there", ["a file", "a link that leads nowhere"])
def test_where_no_environment_can_be_made_one_sentence_says_so(project, there):
    place, aside = project.folder / ".venv", project.folder / "aside"
    place.rename(aside)
    try:
        place.touch() if there == "a file" else place.symlink_to(project.folder / "gone" / "far")
        failed = project.run("start")
        assert failed.returncode == 1 and "Traceback" not in failed.stderr
        assert f"can't be created in {place}: " in failed.stderr and "Delete what is there" in failed.stderr
        assert place.is_file() or place.is_symlink(), "what was there isn't hfdemo's to delete"
    finally:
        place.unlink()
        aside.rename(place)


@needs_venv
def test_start_speaks_the_systems_language(project):
    project.require("needed==9.9\n")
    assert "패키지를 설치하지 못했습니다" in project.run("start", LANG="ko_KR.UTF-8", PYTHONUTF8="1").stderr
    assert "패키지를 설치하지 못했습니다" in project.run("start", HFDEMO_LANGUAGE="ko", PYTHONUTF8="1").stderr
    project.require("needed==1.0\n")


@needs_venv
def test_uv_installs_where_it_is_there(project, tmp_path):
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\necho "uv $@" | sed "s/--python .*--req/--req/"\n', "utf-8")
    uv.chmod(0o755)
    project.require("needed==1.0\n# by uv\n")
    answer = project.run("start", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert f"uv pip install --requirement {project.folder / 'requirements.txt'}" in answer.stdout
