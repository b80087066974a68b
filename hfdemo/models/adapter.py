"""LoRA and its kin: small files that change a base model. They are merged into it with the package `peft`.

What an adapter says about itself, and whether it fits its base, is known before anything large is downloaded.
"""

import importlib.util
import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from hfdemo.compute.transformers_private import making_a_model
from hfdemo.errors import ModelLoadError, install_command
from hfdemo.models.disk import WANTED_FILES, has_file
from hfdemo.models.explain import in_one_line
from hfdemo.models.headers import Tensor, read_rows, read_safetensors, refuse_pointer, shown_path
from hfdemo.models.integrity import WHOLE, check_files, listed, read_object, weight_files
from hfdemo.models.pretrained import load_adapter
from hfdemo.models.source import HubModel, LocalModel
from hfdemo.models.tensors import FLOAT_DTYPES, names_of

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLES = "adapter_model.bin"

MERGED = ("LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "BOFT", "VERA", "HRA")
"""The kinds that peft can merge into the weights of their base; DoRA is one of LORA.
Source: https://huggingface.co/docs/peft/developer_guides/model_merging."""


WRITES_TEXT = "CAUSAL_LM"
"""What peft calls the task of an adapter for a chat; not all say what theirs is."""


class AdapterRepository(Exception):
    """A repository on the Hub holds an adapter instead of a whole model."""


def is_adapter(names: Iterable[str]) -> bool:
    """Tell whether files are those of an adapter: a whole model beside it counts more."""
    there = set(names)
    return CONFIG in there and weight_files(there, allow_pickle=True) is None


def adapter_config(source: HubModel | LocalModel) -> dict[str, Any] | None:
    """Return an adapter's configuration if a model is one, as far as this disk tells.

    Raises:
        ModelLoadError: it can't be read.
    """
    if source.is_gguf:
        return None
    if isinstance(source, LocalModel):
        if not is_adapter(path.name for path in source.folder.iterdir()):
            return None
        refuse_pointer(source.folder / CONFIG)
        return read_object(source.folder / CONFIG)
    looked_for = (CONFIG, WEIGHTS, "config.json", *WHOLE)
    here = {name for name in looked_for if has_file(source.repo_id, name, source.revision)}
    if not is_adapter(here) or ("config.json" in here and WEIGHTS not in here):
        return None  # or a whole model of which no weights are here yet: the Hub knows
    return download_config(source)


def download_config(source: HubModel) -> dict[str, Any]:
    """Download an adapter's configuration, and return it.

    Raises:
        ModelLoadError, HfHubHTTPError, OSError: see `explain.explain_load_error`.
    """
    return read_object(Path(hf_hub_download(source.repo_id, CONFIG, revision=source.revision, token=source.token)))


def base_of(name: str, config: Mapping[str, Any]) -> str:
    """Return the name of an adapter's base model, if the adapter is of a kind that can be merged into it.

    Raises:
        ModelLoadError: it isn't; the text says why.
    """
    kind, base = str(config.get("peft_type") or "?"), str(config.get("base_model_name_or_path") or "")
    if kind not in MERGED:
        raise ModelLoadError("adapter_kind", model=name, kind=kind, kinds=", ".join(MERGED))
    if not base:
        raise ModelLoadError("adapter_without_base", model=name, file=CONFIG)
    if (task := str(config.get("task_type") or WRITES_TEXT)) != WRITES_TEXT:
        raise ModelLoadError("not_text_generation", model=name, task=task)
    return base


def base_name(name: str, config: Mapping[str, Any]) -> str:
    """Return the name of an adapter's base model, if the adapter can be merged into it here.

    Raises:
        ModelLoadError: it can't; the text says why.
    """
    base = base_of(name, config)
    if importlib.util.find_spec("peft") is None:
        raise ModelLoadError("adapter_needs_peft", model=name, base=base, command=install_command("peft"))
    return base


def fetch_adapter(source: HubModel | LocalModel) -> Path:
    """Return the folder of an adapter, downloading it if it isn't here: it is small."""
    if isinstance(source, LocalModel):
        return source.folder
    return Path(
        snapshot_download(
            source.repo_id,
            revision=source.revision,
            allow_patterns=WANTED_FILES,
            ignore_patterns=["*/*"],
            token=source.token,
        )
    )


def is_adapter_here(source: HubModel | LocalModel) -> bool:
    """Tell whether an adapter needs no download."""
    return isinstance(source, LocalModel) or has_file(source.repo_id, WEIGHTS, source.revision)


def check_adapter(folder: Path, name: str, config: Mapping[str, Any]) -> None:
    """Refuse an adapter that isn't whole, or doesn't fit its base.

    Args:
        folder: where it is.
        name: what people call it.
        config: the config.json of its base.

    Raises:
        ModelLoadError: the text says what is wrong.
    """
    check_files(folder)
    stored = read_weights(folder, name)
    if misfits := _misfits(folder, name, config, stored):
        raise ModelLoadError("adapter_misfit", model=name, tensors=names_of(misfits))
    if broken := sorted(key for key, tensor in stored.items() if not _is_finite(key, tensor)):
        raise ModelLoadError("tensors_hollow", model=name, tensors=names_of(broken))


def _is_finite(key: str, tensor: Tensor) -> bool:
    """Tell whether all numbers of an adapter's tensor are some; zeros are what one has before it is trained."""
    if tensor.dtype not in FLOAT_DTYPES or not tensor.shape:
        return True
    return all(bool(rows.isfinite().all()) for rows in read_rows(key, tensor))


def read_weights(folder: Path, name: str) -> Mapping[str, Tensor]:
    """Return an adapter's tensors, without their numbers.

    Args:
        folder: where it is.
        name: what people call it.

    Raises:
        ModelLoadError: it has none, or their file isn't whole.
    """
    names = [path.name for path in folder.iterdir()]
    if WEIGHTS not in names:
        if PICKLES in names:
            raise ModelLoadError("pickled", model=name)
        raise ModelLoadError("adapter_without_weights", folder=shown_path(folder), files=listed(names))
    return read_safetensors(folder / WEIGHTS)


def _misfits(folder: Path, name: str, config: Mapping[str, Any], stored: Collection[str]) -> list[str]:
    """Return the tensors of an adapter that its base has no place for, and those that it lacks.

    peft itself decides: it loads the adapter into a base that has shapes, but no numbers.

    Raises:
        ModelLoadError: peft can't make anything of it; the text says what peft says.
    """
    from peft import get_peft_model_state_dict

    known = CONFIG_MAPPING[str(config.get("model_type"))].from_dict(dict(config))
    with making_a_model, torch.device("meta"):
        base = AutoModelForCausalLM.from_config(known, dtype=torch.float32)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            made = load_adapter(base, folder, low_cpu_mem_usage=True, torch_device="cpu")
    except Exception as error:  # whatever it is, loading would end with it
        if sizes := re.findall(r"size mismatch for (\S+):", str(error)):
            return sorted(sizes)
        raise ModelLoadError("adapter_unreadable", model=name, problem=in_one_line(error)) from None
    found = (re.search(r"missing adapter keys[^\[]*\[(.*?)\]", str(warning.message)) for warning in said)
    lacking = sorted(key for match in found if match for key in re.findall(r"'([^']+)'", match[1]))
    loaded = get_peft_model_state_dict(made, save_embedding_layers=False).keys()
    left_out = sorted(key for key in stored if ".lora_" in key and key not in loaded) if loaded <= set(stored) else []
    return lacking or left_out
