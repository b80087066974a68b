"""Model families in small: tokenizers trained on a few lines, with chat templates that behave as the real ones do.

Nothing is downloaded. What differs between families is kept: how text becomes pieces (byte-level, Metaspace with
byte fallback, Unigram), which added tokens there are and how they treat the white space beside them, and what the
template does with a system prompt.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "You are a helpful assistant. What is the capital of Korea? The capital of Korea is Seoul.",
    "Tell me a story about the cat and the hat, and then explain what the story means.",
    "안녕하세요. 오늘 날씨는 어떻습니까? 한국의 수도는 서울입니다. 감사합니다.",
    "def add(left, right):\n    return left + right\n\n\nfor i in range(10):\n\tprint(add(i, i))\n",
    "system user assistant System: User: Assistant: 😀 👍 🎉\n\n",
] * 4

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA3_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"


@dataclass(frozen=True)
class Family:
    """A tokenizer with a chat template, and what the template is known to do."""

    name: str
    tokenizer: Any
    system: Literal["takes", "raises", "ignores"] = "takes"
    """What the template does with a system prompt."""
    end_of_turn: str | None = None
    """The token that closes the model's turn."""

    def __str__(self) -> str:
        return self.name


def byte_level(
    control: Sequence[str | AddedToken],
    plain: Sequence[str | AddedToken] = (),
    *,
    composes: bool = False,
    ignore_merges: bool = False,
) -> Any:
    """Return a tokenizer of GPT-2's kind; `plain` tokens are added without being special."""
    vocab, merges = _train_bpe("bytes")
    if ignore_merges:  # and a vocabulary that holds the control tokens, too
        vocab = vocab | {str(token): len(vocab) + index for index, token in enumerate(control)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    if composes:
        tokenizer.normalizer = normalizers.NFC()
    if ignore_merges:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _wrap(tokenizer, control, plain)


def metaspace(
    control: Sequence[str | AddedToken],
    plain: Sequence[str | AddedToken] = (),
    *,
    spaces: Literal["first", "always", "legacy", "gemma"],
) -> Any:
    """Return a tokenizer of SentencePiece's kind with byte fallback, which writes a space as "▁".

    `spaces` says where one is put before a word: at the start of the text only, after every control token (as a
    pre-tokenizer or, in older files, as a normalizer), or never.
    """
    vocab, merges = _train_bpe("metaspace")
    pieces = ["<unk>", "<s>", "</s>", *BYTES, *(piece for piece in vocab if piece not in {"<s>", "</s>"})]
    # Converted from SentencePiece, some vocabularies have merges that lead to a control token.
    pieces += ["<", "s", ">", "<s"]
    merges = [*merges, ("<", "s"), ("<s", ">")]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(dict.fromkeys(pieces))},
            merges=merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if spaces == "gemma":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    elif spaces == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=spaces, split=False)
    tokenizer.decoder = decoders.Sequence(steps if spaces == "gemma" else [*steps, decoders.Strip(" ", 1, 0)])
    return _wrap(tokenizer, control, plain)


def unigram(control: Sequence[str | AddedToken]) -> Any:
    """Return a tokenizer of SentencePiece's Unigram kind, whose vocabulary holds its control tokens as pieces."""
    letters = sorted(set("".join(CORPUS)) - set(" \n\t"))
    words = sorted({f"▁{word}" for line in CORPUS for word in line.split()})
    pieces = [(name, 0.0) for name in ["<unk>", "<s>", "</s>", *BYTES]]
    pieces += [("▁", -4.0), *((word, -6.0) for word in words), *((letter, -8.0) for letter in letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrap(tokenizer, control, ())


def with_template(tokenizer: Any, template: str | None) -> Any:
    tokenizer.chat_template = template
    return tokenizer


def opens_texts_with(tokenizer: Any, bos: str) -> Any:
    """Let the tokenizer put its first control token before any text, as base models' do."""
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.convert_tokens_to_ids(bos))]
    )
    return tokenizer


@cache
def _train_bpe(kind: Literal["bytes", "metaspace"]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE())
    if kind == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        alphabet = list("▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?/|_-<>[]()")
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _wrap(tokenizer: Tokenizer, control: Sequence[str | AddedToken], plain: Sequence[str | AddedToken]) -> Any:
    as_added = [token if isinstance(token, AddedToken) else AddedToken(token, normalized=False) for token in plain]
    tokenizer.add_special_tokens(list(control))
    tokenizer.add_tokens(as_added)
    names = [str(token) for token in control]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=names[0],
        eos_token=names[1],
        clean_up_tokenization_spaces=False,
        extra_special_tokens=list(control[2:]),
    )


LLAMA3 = (
    "{{- bos_token }}"
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' + system + '<|eot_id|>' }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

QWEN25 = (
    "{%- if messages[0]['role'] != 'system' %}"
    "{{- '<|im_start|>system\nYou are Qwen. You are a helpful assistant.<|im_end|>\n' }}{%- endif %}"
) + CHATML

SMOLLM2 = QWEN25.replace("You are Qwen. You are a helpful assistant.", "You are a helpful AI assistant named SmolLM")

QWEN3 = (
    "{%- for message in messages %}"
    "{%- set content = message.content %}"
    "{%- if message.role == 'assistant' and '</think>' in content %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.last %}"
    "{{- '<think>\n' + (message.reasoning_content or '') + '\n</think>\n\n' }}{%- endif %}"
    "{{- content + '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)

ALTERNATION = (
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif %}"
)

GEMMA2 = (
    "{{- bos_token }}"
    "{%- if messages[0]['role'] == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}"
    "{%- for message in messages %}"
    + ALTERNATION
    + "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{- '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}"
)

GEMMA3 = (
    "{{- bos_token }}"
    "{%- if messages[0]['role'] == 'system' %}{%- set prefix = messages[0]['content'] + '\n\n' %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set prefix = '' %}{%- endif %}"
    "{%- for message in messages %}"
    + ALTERNATION
    + "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{- '<start_of_turn>' + role + '\n' + (prefix if loop.first else '') + message['content'] | trim }}"
    "{{- '<end_of_turn>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}"
)

MISTRAL_OLD = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    + ALTERNATION
    + "{%- if message['role'] == 'user' %}{{- '[INST] ' + message['content'] + ' [/INST]' }}"
    "{%- else %}{{- message['content'] + eos_token }}{%- endif %}"
    "{%- endfor %}"
)

MISTRAL_NEW = (
    "{{- bos_token }}"
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '[SYSTEM_PROMPT]' + messages[0]['content'] + '[/SYSTEM_PROMPT]' }}{%- set messages = messages[1:] %}"
    "{%- endif %}"
    "{%- for message in messages %}"
    + ALTERNATION
    + "{%- if message['role'] == 'user' %}{{- '[INST]' + message['content'] + '[/INST]' }}"
    "{%- else %}{{- message['content'] + eos_token }}{%- endif %}"
    "{%- endfor %}"
)

LLAMA2 = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{%- set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}{%- set messages = messages[1:] %}"
    "{%- else %}{%- set system = '' %}{%- endif %}"
    "{%- for message in messages %}" + ALTERNATION + "{%- if message['role'] == 'user' %}"
    "{{- bos_token + '[INST] ' + (system if loop.first else '') + message['content'] | trim + ' [/INST]' }}"
    "{%- else %}{{- ' ' + message['content'] | trim + ' ' + eos_token }}{%- endif %}"
    "{%- endfor %}"
)

PHI3 = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)

EXAONE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\n' }}{% endif %}"
    "{{ '[|' + message['role'] + '|]' + message['content'] }}"
    "{% if message['role'] == 'user' %}{{ '\n' }}{% else %}{{ '[|endofturn|]\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
)

DEAF_TO_SYSTEM = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

RAISES = "{{ raise_exception('Only tool calls are supported') }}"
FAULTY = "{{ messages[0]['content'] + 1 }}"
DEAF_TO_ALL = "<|im_start|>{{ messages | length }}<|im_end|>"

CHATML_TOKENS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
THINKING = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
GEMMA_TOKENS = ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
MISTRAL_TOKENS = ["<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
PHI3_TOKENS = [
    "<s>",
    AddedToken("<|endoftext|>", normalized=False),
    *(AddedToken(f"<|{name}|>", rstrip=True, normalized=False) for name in ("system", "user", "assistant", "end")),
]
LSTRIP_TOKENS = ["<|im_start|>", AddedToken("<|im_end|>", lstrip=True, normalized=False), "<|endoftext|>"]
EXAONE_TOKENS = ["[BOS]", "[|endofturn|]", "[|system|]", "[|user|]", "[|assistant|]"]
RUNS_OF_SPACES = [AddedToken(" " * length, normalized=True) for length in range(8, 1, -1)]
NEWLINES = ["\n\n", "\n\n\n", "<table>"]


def _make(name: str, template: str | None, make: Callable[[], Any], **known: Any) -> Family:
    return Family(name, with_template(make(), template), **known)


@cache
def all_families() -> tuple[Family, ...]:
    """Return every family whose template takes a conversation."""
    return (
        _make(
            "Llama 3",
            LLAMA3,
            lambda: opens_texts_with(byte_level(LLAMA3_TOKENS, ignore_merges=True), "<|begin_of_text|>"),
            end_of_turn="<|eot_id|>",
        ),
        _make(
            "Qwen 2.5",
            QWEN25,
            lambda: byte_level(CHATML_TOKENS, composes=True),
            end_of_turn="<|im_end|>",
        ),
        _make(
            "Qwen 3",
            QWEN3,
            lambda: byte_level(CHATML_TOKENS, THINKING, composes=True),
            end_of_turn="<|im_end|>",
        ),
        _make(
            "Gemma 2",
            GEMMA2,
            lambda: metaspace(GEMMA_TOKENS, NEWLINES, spaces="gemma"),
            system="raises",
            end_of_turn="<end_of_turn>",
        ),
        _make(
            "Gemma 3",
            GEMMA3,
            lambda: metaspace(GEMMA_TOKENS, NEWLINES, spaces="gemma"),
            end_of_turn="<end_of_turn>",
        ),
        _make(
            "Mistral, old",
            MISTRAL_OLD,
            lambda: metaspace(["<s>", "</s>"], spaces="legacy"),
            system="raises",
            end_of_turn="</s>",
        ),
        _make("Mistral, new", MISTRAL_NEW, lambda: byte_level(MISTRAL_TOKENS), end_of_turn="</s>"),
        _make("Mistral, v3", MISTRAL_NEW, lambda: metaspace(MISTRAL_TOKENS, spaces="first"), end_of_turn="</s>"),
        _make(
            "Llama 2",
            LLAMA2,
            lambda: opens_texts_with(metaspace(["<s>", "</s>"], spaces="first"), "<s>"),
            end_of_turn="</s>",
        ),
        _make("Phi-3", PHI3, lambda: metaspace(PHI3_TOKENS, spaces="always"), end_of_turn="<|end|>"),
        _make("Phi-3, legacy", PHI3, lambda: metaspace(PHI3_TOKENS, spaces="legacy"), end_of_turn="<|end|>"),
        _make("SmolLM2", SMOLLM2, lambda: byte_level(CHATML_TOKENS), end_of_turn="<|im_end|>"),
        _make("EXAONE", EXAONE, lambda: byte_level(EXAONE_TOKENS), end_of_turn="[|endofturn|]"),
        _make("ChatML", CHATML, lambda: byte_level(CHATML_TOKENS), end_of_turn="<|im_end|>"),
        _make("ChatML, lstrip", CHATML, lambda: byte_level(LSTRIP_TOKENS), end_of_turn="<|im_end|>"),
        _make("ChatML, NeoX", CHATML, lambda: byte_level(CHATML_TOKENS, RUNS_OF_SPACES), end_of_turn="<|im_end|>"),
        _make("ChatML, words", CHATML, lambda: byte_level(CHATML_TOKENS, ["Seoul", "수도"]), end_of_turn="<|im_end|>"),
        _make("Unigram", LLAMA2, lambda: unigram(["<s>", "</s>"]), end_of_turn="</s>"),
        _make(
            "ignores system",
            DEAF_TO_SYSTEM,
            lambda: byte_level(CHATML_TOKENS),
            system="ignores",
            end_of_turn="<|im_end|>",
        ),
    )


@cache
def base_models() -> tuple[Family, ...]:
    """Return families without a chat template; all but the first open a text with a control token."""
    return (
        _make("GPT-2", None, lambda: byte_level(CHATML_TOKENS)),
        _make("Llama 3 base", None, lambda: opens_texts_with(byte_level(LLAMA3_TOKENS), "<|begin_of_text|>")),
        _make("Llama 2 base", None, lambda: opens_texts_with(metaspace(["<s>", "</s>"], spaces="first"), "<s>")),
        _make("Mistral base", None, lambda: opens_texts_with(metaspace(["<s>", "</s>"], spaces="legacy"), "<s>")),
    )


@cache
def refusing_families() -> tuple[Family, ...]:
    """Return families whose template can't show any conversation."""
    return (
        _make("raises", RAISES, lambda: byte_level(CHATML_TOKENS)),
        _make("faulty", FAULTY, lambda: byte_level(CHATML_TOKENS)),
        _make("ignores all", DEAF_TO_ALL, lambda: byte_level(CHATML_TOKENS)),
    )
