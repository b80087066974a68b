"""Makes importing gradio twice as fast.

For each of its own components, at each start, gradio reads the source, parses it, and compares what it finds with a
.pyi file for editors that it wrote long ago: half of the time that its import takes. Seen in Gradio 6.31
(`create_or_modify_pyi` in gradio/component_meta.py); `tests/unit/test_gradio_private.py` fails first if that changes.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

MODULE, FUNCTION = "gradio.component_meta", "create_or_modify_pyi"


def skip_stub_files() -> None:
    """Let gradio write no .pyi files, for its own components and for those made of them."""
    if MODULE in sys.modules:
        _take_away(sys.modules[MODULE])
    else:
        sys.meta_path.insert(0, _Finder())


def _take_away(module: ModuleType) -> None:
    setattr(module, FUNCTION, lambda *_: None)


class _Finder(MetaPathFinder):
    """Finds the one module, and leaves again."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            spec.loader = _Loading(spec.loader)
        return spec


class _Loading(Loader):
    """Loads a module as another loader does, then takes its function away."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _take_away(module)
