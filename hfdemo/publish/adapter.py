"""An adapter that was trained on this machine goes to the Space with the program: it is small, its base is not."""

from contextlib import suppress

from huggingface_hub.utils import filter_repo_objects

from hfdemo.errors import ModelLoadError, PublishError
from hfdemo.models.adapter import adapter_config, base_of, read_weights
from hfdemo.models.choose import parse_model
from hfdemo.models.disk import UNWANTED_FILES, WANTED_FILES
from hfdemo.models.source import HubModel, LocalModel
from hfdemo.publish.folder import SpaceFile, read_file
from hfdemo.publish.space import ADAPTERS


def find_adapter_base(source: LocalModel) -> HubModel | None:
    """Return the base model of an adapter on this machine, which the Space gets from the Hub; None if it is none.

    Raises:
        ModelLoadError: it isn't whole, or can't be merged; the text says why.
        PublishError: its base is on this machine only.
    """
    config = None if source.is_gguf or not source.folder.is_dir() else adapter_config(source)
    if config is None:
        return None
    read_weights(source.folder, source.name)
    named = base_of(source.name, config)
    with suppress(ModelLoadError):  # a name that is none
        base = parse_model(named)
        if isinstance(base, HubModel):
            return base
    raise PublishError("adapter_base_not_on_hub", model=source.name, base=named)


def read_adapter(source: LocalModel) -> list[SpaceFile]:
    """Return the files of an adapter as they are sent; see `name_there`."""
    names = [path.name for path in source.folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    wanted = filter_repo_objects(sorted(names), allow_patterns=WANTED_FILES, ignore_patterns=UNWANTED_FILES)
    return [SpaceFile(f"{ADAPTERS}{source.name}/{name}", read_file(source.folder / name, name)) for name in wanted]


def name_there(source: LocalModel) -> str:
    """Return what the Space's `HFDEMO_MODEL` is."""
    return f"./{ADAPTERS}{source.name}"
