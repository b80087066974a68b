"""Chat templates as models' makers wrote them, from the source package of llama-cpp-python, and tokenizers for them.

The package carries some ninety templates for its own tests. They are read where pip put it; none is copied.
"""

import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PACKAGE = "llama-cpp-python==0.3.36"
FILES = "/vendor/llama.cpp/models/templates/"
CASES = "/vendor/llama.cpp/tests/test-chat-template.cpp"

_CASE = re.compile(
    r'\.name=?\s*\*/\s*"(?P<name>[^"]*)".*?'
    r'\.template_str=?\s*\*/\s*(?:U8C\()?(?:R"\((?P<raw>.*?)\)"|"(?P<text>(?:[^"\\]|\\.)*)")'
    r"(?P<rest>.*?)(?=\.name|\Z)",
    re.DOTALL,
)
_CONTROL = re.compile(r"<[^<>\s'\"{}%+]{1,42}>|\[/?[A-Z_]{3,30}\]|\[e~\[|\]~\w+\]")
"""What looks like a control token: <|im_start|>, <think>, [INST], MiniMax's [e~[ and ]~b]."""


@dataclass(frozen=True, slots=True)
class RealTemplate:
    """One template."""

    name: str
    source: str
    bos: str = "<s>"
    eos: str = "</s>"


def real_templates() -> list[RealTemplate]:
    """Return the templates, each once; the first call downloads the package (77 MB)."""
    found: dict[str, RealTemplate] = {}
    with tarfile.open(_package()) as package:
        for member in package:
            if not (FILES in member.name and member.name.endswith(".jinja")) and not member.name.endswith(CASES):
                continue
            file = package.extractfile(member)
            text = file.read().decode("utf-8") if file else ""
            named = [RealTemplate(Path(member.name).stem, text)] if FILES in member.name else _read_cases(text)
            for template in named:
                found.setdefault(template.source, template)
    return list(found.values())


@cache
def _package() -> Path:
    folder = Path(tempfile.gettempdir()) / "hfdemo-real-templates"
    if not list(folder.glob("*.tar.gz")):
        command = ["pip", "download", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), PACKAGE]
        subprocess.run([sys.executable, "-m", *command], check=True)
    return next(folder.glob("*.tar.gz"))


def _read_cases(program: str) -> list[RealTemplate]:
    """Return the templates that stand in a test program in C++."""
    found = []
    for case in _CASE.finditer(program):
        source = case["raw"] or json.loads('"' + case["text"].replace("\\'", "'") + '"')
        tokens = dict(re.findall(r'\.(bos|eos)_token=?\s*\*/\s*"([^"]+)"', case["rest"]))
        found.append(RealTemplate(case["name"], source, **tokens))
    return found


def make_tokenizer(template: RealTemplate) -> Any:
    """Return a tokenizer of bytes that knows the template's control tokens."""
    unnamed = [f"<|{number}|>" for number in range(4)] if "additional_special_tokens" in template.source else []
    control = list(dict.fromkeys([template.bos, template.eos, *unnamed, *_CONTROL.findall(template.source)]))
    pieces = [*control, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=template.bos, eos_token=template.eos, extra_special_tokens=control[2:]
    )
    made.chat_template = template.source
    return made
