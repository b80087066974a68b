"""What a model's makers recommend for its replies: its `generation_config.json`, read once, when the model is loaded.

Defaults, not orders. transformers would let the file change how `generate` writes, even where its values contradict
each other or a visitor's options, and it would do so only for models that go through `generate`. So transformers never
gets to see the file. What hfdemo takes from it is listed here, and all else is off, in every way to write a reply.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from hfdemo.chat.notes import Note, make_note
from hfdemo.chat.options import MAX_STOP_TEXT_CHARS, MAX_STOP_TEXTS, RECOMMENDED, read_number
from hfdemo.compute.transformers_private import usual_generation_values
from hfdemo.errors import InvalidInput

FILE = "generation_config.json"

HONOURED = ("eos_token_id", "stop_strings", "do_sample", *RECOMMENDED)
"""All that a model's file can change. The first two end a reply. The others are the defaults of the visitor's options.

`do_sample: false` alone asks for the most likely token each time: the recommended temperature is 0. Beside a
temperature it counts for nothing. Such files contradict themselves, most of them because an old transformers wrote out
all of its own defaults, and the temperature is what makers mean for a chat that samples.
"""

NOT_WORTH_A_WORD = (
    *("pad_token_id", "bos_token_id", "use_cache", "cache_implementation"),
    *("transformers_version", "_from_model_config"),
)
"""What is not honoured either, but can't change a word of a reply, and stands in many files."""


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """What a model's file says, as far as it counts."""

    end_ids: tuple[int, ...] = ()
    """Tokens that end a reply."""
    stop_texts: tuple[str, ...] = ()
    """Texts that end a reply, in its answer."""
    recommended: Mapping[str, float] = field(default_factory=dict)
    """Values of the options in `RECOMMENDED`, as far as the file has good ones."""
    switched_off: tuple[str, ...] = ()
    """Fields of the file that would change replies elsewhere."""
    ignored: tuple[str, ...] = ()
    """Fields of the file whose values can't be used, though they would count."""
    is_broken: bool = False
    """Whether the file can't be read at all."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """What people should know of it: the fields that don't count."""
        notes = [make_note("generation_broken")] if self.is_broken else []
        if self.switched_off:
            notes.append(make_note("generation_off", fields=", ".join(self.switched_off)))
        if self.ignored:
            notes.append(make_note("generation_ignored", fields=", ".join(self.ignored)))
        return tuple(notes)


def read_generation_defaults(folder: Path) -> GenerationDefaults:
    """Read a model's file, which may hold anything, or not be there: this never fails."""
    try:
        content = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return GenerationDefaults()
    except (OSError, ValueError, RecursionError):
        return GenerationDefaults(is_broken=True)
    if not isinstance(content, dict):
        return GenerationDefaults(is_broken=True)
    return _judge({name: value for name, value in content.items() if value is not None})


def own_generation_config(defaults: GenerationDefaults, config: Any, tokenizer: Any) -> GenerationConfig:
    """Return what `generate` may know of a model: which tokens end a reply, and which one fills a row.

    Args:
        defaults: of the model's file. Where it names no end, that of the model's configuration counts.
        config: the model's configuration.
        tokenizer: the model's. A stop text that is a control token has no text in a reply; so its id is an end.
    """
    ends = defaults.end_ids
    for source in (config.get_text_config(decoder=True), config):
        ends = ends or _token_ids(getattr(source, "eos_token_id", None))[0]
    added = tokenizer.added_tokens_decoder.items() if defaults.stop_texts else ()
    ends += tuple(number for number, token in added if token.special and str(token) in defaults.stop_texts)
    return GenerationConfig(eos_token_id=list(ends) or None, pad_token_id=ends[0] if ends else None)


def _judge(content: dict[str, Any]) -> GenerationDefaults:
    """Take from a file what counts, and name what doesn't."""
    ignored: list[str] = []
    end_ids, are_ids = _token_ids(content.get("eos_token_id"))
    stop_texts = _stop_texts(content.get("stop_strings", []))
    recommended: dict[str, float] = {}
    for name in RECOMMENDED:
        try:
            recommended |= {name: read_number(name, content[name])} if name in content else {}
        except InvalidInput:
            ignored.append(name)
    do_sample = content.get("do_sample", True)
    if do_sample is False and "temperature" not in content:
        recommended["temperature"] = 0.0
    ignored += [] if are_ids else ["eos_token_id"]
    ignored += ["stop_strings"] if stop_texts is None else []
    ignored += [] if isinstance(do_sample, bool) else ["do_sample"]
    return GenerationDefaults(end_ids, stop_texts or (), recommended, _switched_off(content), tuple(ignored))


def _switched_off(content: dict[str, Any]) -> tuple[str, ...]:
    """Return the fields that transformers knows, which have another value than they have by themselves."""
    usual = usual_generation_values()
    other = (name for name in content if name in usual and name not in (*HONOURED, *NOT_WORTH_A_WORD))
    return tuple(name for name in other if content[name] not in (usual[name], False, "", [], {}))


def _token_ids(value: Any) -> tuple[tuple[int, ...], bool]:
    """Return the token ids of a field, one or a list, and whether all of it is."""
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    ids = tuple(item for item in items if isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**31)
    return ids, value is None or len(ids) == len(items)


def _stop_texts(value: Any) -> tuple[str, ...] | None:
    """Return the stop texts of a field, one or a list; None if they can't be used."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or len(texts) > MAX_STOP_TEXTS:
        return None
    good = all(isinstance(text, str) and 0 < len(text) <= MAX_STOP_TEXT_CHARS for text in texts)
    return tuple(texts) if good else None
