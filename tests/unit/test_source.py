"""The code is clean by the tools' measure, and its rooms import one another one way only."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PACKAGE = ROOT / "hfdemo"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
BASE = ("hfdemo.settings", "hfdemo.errors", "hfdemo.words", "hfdemo.background")
"""What any room may import."""

PLAN = ("hfdemo.models.plan", "hfdemo.models.plan_text", "hfdemo.models.choice")
"""What the page shows of a model and of its plan; pure."""

OWN_IMPORTS = {
    "hfdemo.settings": ("hfdemo.errors", "hfdemo.variables", "hfdemo.words"),
    "hfdemo.variables": ("hfdemo.errors",),
    "hfdemo.python_version": (),
    "hfdemo.interrupt": ("hfdemo.words",),
    "hfdemo.errors": ("hfdemo.words",),
    "hfdemo.words": ("hfdemo.words",),
    "hfdemo.background": (),
    "hfdemo.rates": (),
    "hfdemo.chat": ("hfdemo.chat", *BASE),
    "hfdemo.compute": ("hfdemo.compute", *BASE),
    "hfdemo.models": ("hfdemo.models", "hfdemo.compute", "hfdemo.chat", "hfdemo.variables", *BASE),
    "hfdemo.decoding": ("hfdemo.decoding", "hfdemo.models", "hfdemo.compute", "hfdemo.chat", *BASE),
    "hfdemo.engines": (
        *("hfdemo.engines", "hfdemo.decoding", "hfdemo.models", "hfdemo.compute", "hfdemo.chat"),
        *BASE,
    ),
    "hfdemo.answering": ("hfdemo.engines.protocol", "hfdemo.chat", "hfdemo.rates", *BASE),
    "hfdemo.web": ("hfdemo.web", "hfdemo.chat.messages", "hfdemo.chat.reply", *BASE),
    "hfdemo.door": (
        *("hfdemo.door", "hfdemo.answering", "hfdemo.engines.protocol", "hfdemo.chat", "hfdemo.web"),
        *BASE,
    ),
    "hfdemo.page": (
        *("hfdemo.page", "hfdemo.answering", "hfdemo.engines.protocol", "hfdemo.chat", "hfdemo.web"),
        *(*PLAN, *BASE),
    ),
    "hfdemo.publish": ("hfdemo.publish", "hfdemo.models", *BASE),
    "hfdemo.commands": (
        *("hfdemo.commands", "hfdemo.environment", "hfdemo.models", "hfdemo.chat", "hfdemo.publish"),
        *("hfdemo.engines.remote", "hfdemo.compute.faster", "hfdemo.variables", "hfdemo.interrupt", *BASE),
    ),
    "hfdemo.colab": ("hfdemo.commands.terminal", "hfdemo.environment", "hfdemo.models.plan_text", *BASE),
    "hfdemo.environment": ("hfdemo.python_version", "hfdemo.interrupt", "hfdemo.words"),
    "hfdemo.arguments": ("hfdemo.settings", "hfdemo.words"),
    "hfdemo.__main__": (
        *("hfdemo.arguments", "hfdemo.environment", "hfdemo.python_version", "hfdemo.interrupt", "hfdemo.words"),
        *("hfdemo.commands", "hfdemo.settings", "hfdemo.errors"),
    ),
}
"""What the modules of each room may import of hfdemo."""

OTHER_IMPORTS = {
    "hfdemo.settings": (),
    "hfdemo.variables": (),
    "hfdemo.python_version": (),
    "hfdemo.interrupt": (),
    "hfdemo.errors": (),
    "hfdemo.background": (),
    "hfdemo.words": (),
    "hfdemo.chat.encoder": ("tokenizers",),
    "hfdemo.chat.template": ("jinja2",),
    "hfdemo.chat.template_trial": ("jinja2",),
    "hfdemo.chat": (),
    "hfdemo.answering": (),
    "hfdemo.rates": (),
    "hfdemo.engines.protocol": (),
    "hfdemo.web": ("starlette", "prometheus_client"),
    "hfdemo.door": ("starlette",),
    "hfdemo.compute.faster": ("torch", "huggingface_hub"),  # which knows where programs keep things
    "hfdemo.compute": ("torch", "transformers"),
    "hfdemo.colab": ("IPython", "google", "psutil"),
    "hfdemo.environment": (),
    "hfdemo.arguments": (),
    "hfdemo.__main__": (),
}
"""What the modules of a room may import besides hfdemo and the standard library; others may import more."""


def imports(path: Path, *, at_import: bool = False) -> set[str]:
    """Return the modules that a module imports; only those it needs to be imported itself with `at_import`."""
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if name in MODULES} or {str(node.module)}
        if not (at_import and runs_later(node)):
            nodes += ast.iter_child_nodes(node)
    return found


def runs_later(node: ast.AST) -> bool:
    """Tell whether what is in a node doesn't run when its module is imported."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def is_in(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def run(*command: str) -> None:
    result = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=lambda command: " ".join(command),
)
def test_the_tools_find_nothing(command):
    run("-m", *command)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_the_rooms_below_it(module):
    own = {name for name in imports(MODULES[module]) if is_in(name, "hfdemo")}
    allowed = next((rooms for room, rooms in OWN_IMPORTS.items() if is_in(module, room)), None)
    assert allowed is not None or module == "hfdemo", "it is in no room"
    assert [name for name in own if name != "hfdemo" and not any(is_in(name, room) for room in allowed or ())] == []


@pytest.mark.parametrize("room", OWN_IMPORTS)
def test_what_a_room_may_import_is_imported(room):
    own = set().union(*(imports(path) for module, path in MODULES.items() if is_in(module, room)))
    unused = [other for other in OWN_IMPORTS[room] if not any(is_in(name, other) for name in own)]
    assert [other for other in unused if other not in (room, *BASE)] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_room_needs_only_the_packages_that_belong_there(module):
    packages = {name.split(".")[0] for name in imports(MODULES[module])} - sys.stdlib_module_names - {"hfdemo"}
    allowed = next((names for room, names in OTHER_IMPORTS.items() if is_in(module, room)), None)
    if allowed is not None:
        assert packages <= set(allowed)
    if not is_in(module, "hfdemo.page"):
        assert "gradio" not in packages
    else:
        assert packages.isdisjoint({"torch", "transformers", "huggingface_hub", "tokenizers"})


@pytest.mark.parametrize("module", ["hfdemo.chat.prompt", "hfdemo.chat.template", "hfdemo.chat.encoder"])
def test_the_prompt_needs_no_package_to_be_imported(module):
    at_import = {name.split(".")[0] for name in imports(MODULES[module], at_import=True)}
    assert at_import - sys.stdlib_module_names == {"hfdemo"}


def test_every_room_of_the_design_is_there():
    for room in OWN_IMPORTS:
        assert any(is_in(module, room) for module in MODULES), room


def test_only_app_py_puts_the_parts_together():
    own = {name for name in imports(ROOT / "app.py") if is_in(name, "hfdemo")}
    assert {"hfdemo.settings", "hfdemo.page.page"} <= own
    assert [name for name, path in MODULES.items() if "app" in imports(path)] == []


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("hfdemo", "torch transformers gradio huggingface_hub tokenizers argparse"),
        ("hfdemo.chat.prompt", "torch transformers gradio huggingface_hub tokenizers jinja2"),
        ("hfdemo.models.catalog", "torch transformers gradio huggingface_hub"),
        ("hfdemo.models.plan", "torch transformers gradio huggingface_hub"),
        ("hfdemo.engines.local", "torch transformers gradio huggingface_hub"),
        ("hfdemo.page.page", "torch transformers"),
    ],
)
def test_importing_a_part_does_not_load_what_is_slow(module, unwanted):
    program = (
        f"import sys, {module}; loaded = set({unwanted.split()!r}) & set(sys.modules); sys.exit(' '.join(loaded) or 0)"
    )
    run("-c", program)


def test_importing_reads_no_environment_variable_and_no_argument():
    readers = re.compile(r"os\.environ\.get|os\.environ\[|os\.getenv|sys\.argv")
    for module, path in MODULES.items():
        if module == "hfdemo.__main__":  # the command line itself
            continue
        assert not readers.search(path.read_text("utf-8")), module


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_named_for_what_it_holds_and_says_so(module):
    assert not {"utils", "util", "helpers", "helper", "common", "misc"} & set(module.split("."))
    assert ast.get_docstring(ast.parse(MODULES[module].read_text("utf-8")))


def requirements_of(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line and line[0] != "#"]


@pytest.mark.parametrize("file", ["requirements.txt", "tests/requirements.txt"])
def test_the_versions_that_are_asked_for_are_ranges(file):
    for requirement in requirements_of(file):
        assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}, requirement


@pytest.mark.parametrize("file", ["requirements.txt", "tests/requirements.txt"])
def test_the_lock_has_a_version_of_each_range(file):
    locked: dict[str, list[str]] = {}
    for requirement in requirements_of("tests/requirements.lock"):
        [specifier] = requirement.specifier
        assert specifier.operator == "=="
        locked.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)
    for requirement in requirements_of(file):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(map(requirement.specifier.contains, versions)), requirement


def test_the_space_runs_a_gradio_that_was_tested():
    readme = ROOT / "README.md"
    version = re.search(r"^sdk_version: *['\"]?([\d.]+)", readme.read_text("utf-8"), re.M) if readme.exists() else None
    if version is None:
        pytest.skip("README.md names no version of Gradio")
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    requirement = next(Requirement(line) for line in lines if line.startswith("gradio"))
    assert requirement.specifier.contains(version[1])
