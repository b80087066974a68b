"""What ZeroGPU would reject in the program when the Space starts, found in the source files.

Source: the `spaces` package, which raises if CUDA was used before its import, or if no function is marked.
"""

import ast
import re
from collections.abc import Iterator, Mapping

from hfdemo.errors import PublishError

TOUCHES_CUDA = ("torch", "transformers", "accelerate", "bitsandbytes", "diffusers")
"""Packages that may initialise CUDA when they are imported, or import torch, which may."""

_MARKED = re.compile(r"\bspaces\.GPU\b|\bfrom spaces import .*\bGPU\b")
_QUEUE = re.compile(r"\.queue\([^)]*\bmax_size=")


def lint(files: Mapping[str, str]) -> list[PublishError]:
    """Return what ZeroGPU would reject in the program's files.

    Args:
        files: the texts of the Python files, by name.
    """
    found: list[PublishError] = []
    imports: dict[str, list[tuple[str, int]]] = {}
    for name, text in files.items():
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            found.append(PublishError("program_syntax", file=name, line=error.lineno, problem=error.msg))
            continue
        if "spaces" in text:  # most files don't use it
            imports[name] = list(_imports(tree))
    if not any(package == "spaces" for lines in imports.values() for package, _ in lines):
        found.append(PublishError("program_no_spaces"))
    for name, lines in imports.items():
        found += _lint_order(name, lines)
    if not any(map(_MARKED.search, files.values())):
        found.append(PublishError("program_no_gpu"))
    if not any(map(_QUEUE.search, files.values())):
        found.append(PublishError("program_no_queue"))
    return found


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the packages that a file imports, with line numbers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0], node.lineno


def _lint_order(name: str, imports: list[tuple[str, int]]) -> Iterator[PublishError]:
    spaces = min((line for package, line in imports if package == "spaces"), default=None)
    before = [(line, package) for package, line in imports if package in TOUCHES_CUDA and line < (spaces or 0)]
    if before:
        line, package = min(before)
        yield PublishError("program_late_spaces", file=name, line=spaces, package=package, before=line)
