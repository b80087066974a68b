"""Is a model on this disk whole? A look at each file's first bytes, its header, and the index; no weights are read."""

import json
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from hfdemo.errors import ModelLoadError, hub_command
from hfdemo.models.config_faults import refuse_impossible_numbers
from hfdemo.models.headers import GgufHeader, Tensor, read_gguf, read_safetensors, refuse_pointer, shown_path
from hfdemo.models.source import is_hub_name
from hfdemo.models.tensors import MANY_LAYERS, names_of

CONFIG = "config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"

WHOLE = (WEIGHTS, INDEX, PICKLES, PICKLE_INDEX)
"""The names that transformers looks for, in this order."""

TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.*.json",
    "*.model",
    "*.tiktoken",
    "tekken.json",
    "vocab.*",
    "merges.txt",
    "spiece*",
)
"""How files are called from which a tokenizer can be made."""

TOKENIZER_CONFIG = "tokenizer_config.json"
OF_BYTES = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
"""The tokenizers that need no more than their name there: their words are bytes."""

NEEDED_JSON = (CONFIG, INDEX, PICKLE_INDEX, "tokenizer.json", TOKENIZER_CONFIG)
"""Without any of these, if they are there, nothing can be loaded."""

READ = (
    *NEEDED_JSON,
    *TOKENIZERS,
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.jinja",
    "adapter_config.json",
    "adapter_model.safetensors",
    "model-*-of-*.safetensors",
    WEIGHTS,
)
"""How the files are called that are read of a folder; others may be whatever they are."""

NAMED_AT_MOST = 8
"""So many files are named in a sentence."""

GGUF_OF_EQUAL_LAYERS = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "granite", "phi3", "smollm3")
"""The architectures whose layers all have the same tensors, by their names in GGUF files."""

GGUF_FIELDS = ("block_count", "embedding_length", "attention.head_count")
"""What the header must say of any architecture."""

GGUF_PARTS = ("attn_q", "attn_output", "ffn_up", "ffn_down")
"""How the names begin of what each layer of these has."""

USUAL_BITS = ("Q4_K_M", "Q4", "Q8", "")
"""Parts of names of GGUF files that suit most machines, the best first."""

_BESIDE_MODEL = re.compile("mmproj|imatrix", re.IGNORECASE)
"""In the names of GGUF files that hold no model of text: they go with one."""

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)


def open_folder(folder: Path) -> dict[str, Any]:
    """Return the config.json of a model's folder.

    Raises:
        ModelLoadError: the folder holds no model that can be read, which the text explains.
    """
    check_files(folder)
    entries = sorted(folder.iterdir())
    if CONFIG not in [path.name for path in entries]:
        raise _no_config(folder, entries)
    config = read_object(folder / CONFIG)
    refuse_impossible_numbers(config, CONFIG, shown_path(folder))
    return config


def check_files(folder: Path) -> None:
    """Check that each file of a model or an adapter is one, and no pointer, and that what must be JSON looks like it.

    Raises:
        ModelLoadError: the text names the first that isn't.
    """
    names = sorted(path.name for path in folder.iterdir())  # with links that lead nowhere, and folders
    for name in names:
        if any(fnmatch(name, pattern) for pattern in READ):
            refuse_pointer(folder / name)
    for name in NEEDED_JSON:
        if name in names:
            _refuse_broken_json(folder / name)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ModelLoadError: there is something else in it.
    """
    try:
        text = path.read_text("utf-8-sig")  # some editors begin a file with a byte order mark
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and re.fullmatch(r"\s*{.*}\s*", text, re.DOTALL):  # edited, not cut
            raise _not_json(path, error) from None
        raise _damaged(path) from None
    if not isinstance(found, dict):
        raise ModelLoadError("file_no_object", file=path.name, folder=shown_path(path.parent))
    return found


def check_folder(folder: Path, config: Mapping[str, Any], allow_pickle: bool) -> dict[str, Tensor] | None:
    """Check that a model's folder has all its files and each is whole, and return the tensors in them, if they tell.

    Args:
        folder: a folder as transformers saves one.
        config: its config.json.
        allow_pickle: whether pickled weights may be loaded; nothing is known of their tensors (None).

    Raises:
        ModelLoadError: the text names what is missing or broken.
    """
    files = [path.name for path in folder.iterdir()]
    weights = weight_files(files, allow_pickle, named_weights(config))
    if weights is None:
        raise ModelLoadError("no_weights", folder=shown_path(folder), files=listed(files), hf=hub_command())
    if weights.endswith(".index.json"):
        shards = shards_of(read_object(folder / weights))
        refuse_missing_shards(shown_path(folder), weights, shards, files)
    else:
        shards = [weights]
    tensors: dict[str, Tensor] = {}
    for name in shards:
        if name.endswith(".safetensors"):
            tensors |= read_safetensors(folder / name)
        else:
            _refuse_broken_pickle(folder / name)
    refuse_without_tokenizer(folder)
    return tensors if all(name.endswith(".safetensors") for name in shards) else None


def refuse_without_tokenizer(folder: Path) -> None:
    """Refuse a model's folder that has nothing that a tokenizer can be made of.

    Raises:
        ModelLoadError: it is one.
    """
    if not has_tokenizer(folder):
        raise ModelLoadError("no_tokenizer", folder=shown_path(folder))


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a folder has what a tokenizer can be made of."""
    files = [path.name for path in folder.iterdir()]
    if names_tokenizer(files):
        return True
    return TOKENIZER_CONFIG in files and read_object(folder / TOKENIZER_CONFIG).get("tokenizer_class") in OF_BYTES


def names_tokenizer(names: Iterable[str]) -> bool:
    """Tell whether one of a folder's files, by its name, is one from which a tokenizer can be made."""
    return any(fnmatch(name, pattern) for name in names for pattern in TOKENIZERS)


def weight_files(names: Iterable[str], allow_pickle: bool, named: str = "") -> str | None:
    """Return the file with the weights, or with their index, that transformers would load; None if there is none."""
    known = (named, *(WHOLE if allow_pickle else (WEIGHTS, INDEX)))
    there = set(names)
    return next((name for name in known if name and name in there), None)


def named_weights(config: Mapping[str, Any]) -> str:
    """Return the file with the weights that a config.json names in place of the usual ones; empty if it names none."""
    return str(config.get("transformers_weights") or "")


def shards_of(index: Mapping[str, Any]) -> list[str]:
    """Return the files that an index names."""
    found = index.get("weight_map")
    return sorted({str(name) for name in found.values()}) if isinstance(found, dict) else []


def refuse_missing_shards(place: str, index: str, shards: Sequence[str], files: Iterable[str]) -> None:
    """Refuse a model that lacks files which its index names.

    Raises:
        ModelLoadError: the text names them.
    """
    if not shards:
        raise ModelLoadError("index_empty", folder=place, index=index)
    if missing := sorted(set(shards) - set(files)):
        raise ModelLoadError("shards_missing", folder=place, index=index, files=listed(missing))


def check_gguf(path: Path) -> GgufHeader:
    """Check that a GGUF file is whole and one that transformers loads, and return what its header says.

    Raises:
        ModelLoadError: the text says what is wrong with it.
    """
    refuse_pointer(path)
    siblings = [other.name for other in path.parent.iterdir()]
    refuse_gguf_part(path.name, siblings, shown_path(path.parent))
    header = read_gguf(path)
    if header.parts > 1:
        raise ModelLoadError("gguf_parts", file=path.name, count=header.parts)
    check_gguf_architecture(path.name, header.architecture)
    if unsaid := [field for field in GGUF_FIELDS if field not in header.fields]:
        problem = f"no {header.architecture}.{unsaid[0]}"
        raise ModelLoadError("gguf_unreadable", problem=problem, file=path.name, folder=shown_path(path.parent))
    _refuse_odd_layer_count(header, path)
    if missing := _missing_in_gguf(header):
        raise ModelLoadError("tensors_missing", model=path.name, tensors=names_of(missing))
    if misfits := _misfits_in_gguf(header):
        raise ModelLoadError("gguf_misfit", model=path.name, tensors=names_of(misfits))
    return header


def _refuse_odd_layer_count(header: GgufHeader, path: Path) -> None:
    """Refuse a GGUF file whose header asks for no layer, or for more than it has tensors, before any is looked for."""
    layers, stored = header.fields["block_count"], len(header.tensors)
    if not isinstance(layers, int):
        return
    if layers < 1:
        problem = f"{header.architecture}.block_count = {layers}"
        raise ModelLoadError("gguf_unreadable", problem=problem, file=path.name, folder=shown_path(path.parent))
    if layers > max(stored, MANY_LAYERS):
        raise ModelLoadError("tensors_missing", model=path.name, tensors=f"{stored} < block_count = {layers}")


def _missing_in_gguf(header: GgufHeader) -> list[str]:
    """Return the layers that a GGUF file lacks, and what all of them lack, or one that differs from the others."""
    names, layers = set(header.tensors), header.fields.get("block_count")
    parts: dict[str, set[str]] = {str(layer): set() for layer in range(layers if isinstance(layers, int) else 0)}
    for _, layer, part in _parts_of_layers(header):
        parts.setdefault(layer, set()).add(part)
    missing = [f"blk.{layer}" for layer, there in parts.items() if not there]
    needed = ["token_embd.weight"]
    if header.architecture in GGUF_OF_EQUAL_LAYERS:
        every = set().union(*parts.values())
        needed += ["output_norm.weight"]
        missing += [f"blk.*.{part}" for part in GGUF_PARTS if not any(name.startswith(part) for name in every)]
        missing += sorted(f"blk.{layer}.{part}" for layer, there in parts.items() if there for part in every - there)
    return missing + [name for name in needed if name not in names]


def _misfits_in_gguf(header: GgufHeader) -> list[str]:
    """Return the tensors whose shape is not that of the other layers, or not that which the header says."""
    if header.architecture not in GGUF_OF_EQUAL_LAYERS:
        return []
    shapes: dict[str, Counter[tuple[int, ...]]] = {}
    for name, _, part in _parts_of_layers(header):
        shapes.setdefault(part, Counter())[header.tensors[name]] += 1
    usual = {part: counted.most_common(1)[0][0] for part, counted in shapes.items()}
    misfits = [name for name, _, part in _parts_of_layers(header) if header.tensors[name] != usual[part]]
    hidden, embedding = header.fields.get("embedding_length"), "token_embd.weight"
    return sorted(misfits) + ([] if hidden in (None, *header.tensors[embedding]) else [embedding])


def _parts_of_layers(header: GgufHeader) -> Iterator[tuple[str, str, str]]:
    """Yield the tensors of a GGUF file's layers: the name, the layer in it, and the part of the layer."""
    for name in header.tensors:
        if name.startswith("blk.") and name.count(".") > 1:
            _, layer, part = name.split(".", 2)
            yield name, layer, part


def check_gguf_architecture(name: str, architecture: str) -> None:
    """Refuse a GGUF file of an architecture that transformers can't load.

    Raises:
        ModelLoadError: it is one.
    """
    from hfdemo.compute.transformers_private import loads_gguf_of  # which imports torch

    if architecture and not loads_gguf_of(architecture):
        raise ModelLoadError("gguf_architecture", model=name, architecture=architecture)


def refuse_gguf_part(name: str, files: Iterable[str], place: str) -> None:
    """Refuse a file that is a part of a split GGUF file, as its name says; transformers loads only whole ones.

    Args:
        name: the file.
        files: the files beside it.
        place: the folder or repository, for people.

    Raises:
        ModelLoadError: it is one; the text names the parts that are missing, or how to merge them.
    """
    if not (match := _PART.fullmatch(name)):
        return
    begin, count = match[1], int(match[3])
    there = set(files)
    parts = (f"{begin}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1))
    if missing := [part for part in parts if part not in there]:
        raise ModelLoadError("gguf_parts_missing", file=name, folder=place, files=listed(missing))
    if count > 1:
        raise ModelLoadError("gguf_parts", file=name, count=count)


def unnamed_gguf_error(place: str, names: Iterable[str]) -> ModelLoadError:
    """Return what to say of a folder or repository of GGUF files where none of them is named.

    Args:
        place: the folder or repository, as people name it before a file.
        names: the GGUF files in it.
    """
    ggufs = sorted(names)
    models = [name for name in ggufs if not _BESIDE_MODEL.search(name) and not _is_part(name)] or ggufs
    first = next(name for bits in USUAL_BITS for name in models if bits in name.upper())
    return ModelLoadError("gguf_repository", model=place, files=listed(models, first), first=first)


def _is_part(name: str) -> bool:
    match = _PART.fullmatch(name)
    return match is not None and int(match[3]) > 1


def listed(names: Iterable[str], first: str = "") -> str:
    """Return names for a sentence: the first few, in their order in the alphabet, but for one to begin with."""
    ordered = sorted(names, key=lambda name: (name != first, name))
    return ", ".join(ordered[:NAMED_AT_MOST]) + (", …" if len(ordered) > NAMED_AT_MOST else "")


def _no_config(folder: Path, entries: Sequence[Path]) -> ModelLoadError:
    """Return what to say of a folder without a config.json."""
    ggufs = [path.name for path in entries if path.suffix.lower() == ".gguf"]
    place = shown_path(folder)
    if ggufs:
        return unnamed_gguf_error(place, ggufs)
    hidden, hf = folder.as_posix(), hub_command()
    advice = "hides_hub" if is_hub_name(hidden) else None
    names = [f"{path.name}/" if path.is_dir() else path.name for path in entries]
    if not names:
        return ModelLoadError("folder_empty", advice, folder=place, model=hidden, hf=hf)
    inside = (*reversed(entries), *folder.glob("snapshots/*"))  # the latter in a folder of the Hub's download cache
    inner = next((path for path in inside if _is_model(path)), None)
    advice = "name_inner" if inner else advice
    facts = {"files": listed(names), "model": hidden, "inner": shown_path(inner) if inner else ""}
    return ModelLoadError("no_config", advice, folder=place, hf=hf, **facts)


def _is_model(folder: Path) -> bool:
    """Tell whether a folder inside another one holds what was meant, as a trainer's checkpoints do."""
    return any((folder / name).is_file() for name in (CONFIG, "adapter_config.json"))


def _refuse_broken_json(path: Path) -> None:
    """Refuse a JSON file that is cut off, by its first and its last letter: some of them are large."""
    content = path.read_bytes()
    if path.name == CONFIG:
        content = content.removeprefix(BOM_UTF8)
    content = content.strip()
    if content[:1] + content[-1:] not in (b"{}", b"[]"):
        raise _damaged(path)


def _refuse_broken_pickle(path: Path) -> None:
    refuse_pointer(path)
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK" and not is_zipfile(path):
        raise _damaged(path)


def _not_json(path: Path, error: json.JSONDecodeError) -> ModelLoadError:
    place = shown_path(path.parent)
    return ModelLoadError("file_no_json", file=path.name, folder=place, line=error.lineno, problem=error.msg)


def _damaged(path: Path) -> ModelLoadError:
    kind = "JSON" if path.suffix == ".json" else "PyTorch"
    return ModelLoadError("file_damaged", kind=kind, file=path.name, folder=shown_path(path.parent))
