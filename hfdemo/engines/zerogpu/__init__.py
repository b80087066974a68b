"""The engine of a Space with ZeroGPU."""

from collections.abc import Callable

from hfdemo.engines.protocol import Setup
from hfdemo.settings import Settings


def set_up(settings: Settings, _: Callable[[], None]) -> Setup:
    """Return the engine with its model, or with the reason why that can't be loaded."""
    import spaces  # before torch, which it makes believe that there is a GPU

    from hfdemo.engines.zerogpu.engine import ZeroGpuEngine
    from hfdemo.engines.zerogpu.spaces_private import leave_line_when_stopped

    leave_line_when_stopped()
    engine = ZeroGpuEngine(settings, spaces.GPU)
    engine.load()
    return Setup(engine, viewer=engine)
