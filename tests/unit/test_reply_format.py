"""Whatever marks a model's makers chose, its reply is read as thought and answer, on each way to write it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import pipeline

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.prompt import PromptBuilder
from hfdemo.chat.reply import StopSignal
from hfdemo.chat.request import ChatRequest
from hfdemo.compute.fast_step import FastStep
from hfdemo.compute.thread import CallingThread
from hfdemo.decoding import running
from hfdemo.decoding.loop import Loop
from hfdemo.decoding.request import make_decode_request, make_streamer
from hfdemo.decoding.running import RunningReply
from hfdemo.models.load import ChatPipeline, LoadedModel, end_of_reply_ids
from hfdemo.models.tensors import decoder_layers
from tests.unit.families import byte_level, with_template
from tests.unit.tiny_models import tiny_model

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IM = ("<|im_start|>", "<|im_end|>")
OPENED = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")

GPT_OSS = (
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{% if message.thinking and loop.last %}"
    "<|start|>assistant<|channel|>analysis<|message|>{{ message.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ message.content }}"
    "{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}"
    "{% else %}<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
GPT_OSS_TOKENS = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>")

SOLAR = (
    "{% for message in messages %}<|begin|>{{ message.role }}"
    "{% if message.reasoning_content and loop.last %}"
    "<|think|>{{ message.reasoning_content }}<|end|><|begin|>assistant{% endif %}"
    "<|content|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant{% endif %}"
)
SOLAR_TOKENS = ("<|begin|>", "<|end|>", "<|content|>", "<|think|>", "<|flush|>")

GRANITE = (
    "{% for message in messages %}<|role|>{{ message.role }}<|/role|>{{ message.content }}<|eot|>\n{% endfor %}"
    "{% if add_generation_prompt %}{# <think></think> and <response></response> #}"
    "<|role|>assistant<|/role|>{% endif %}"
)

ROLE = (
    "{% set now = namespace(asked=0) %}{% for message in messages %}{% if message.role == 'user' %}"
    "{% set now.asked = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{% if loop.index0 > now.asked and message.reasoning_content %}"
    "<|im_start|>assistant/think\n{{ message.reasoning_content }}<|im_end|>\n{% endif %}"
    "<|im_start|>assistant\n{{ message.content }}<|im_end|><|endofturn|>\n"
    "{% else %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% if force_reasoning %}/think\n{% endif %}{% endif %}"
)

OWN = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.reasoning_content %}<|muse|>{{ message.reasoning_content }}<|/muse|>\n\n{% endif %}"
    "{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

RECIPIENT = (
    "{% for message in messages %}<|start|>{{ message.role }}{% if message.role == 'assistant' %}"
    "{% if message.reasoning_content %} to=self<|message|>{{ message.reasoning_content }}<|eom|><|start|>assistant"
    "{% endif %} to=user{% endif %}<|message|>{{ message.content }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
RECIPIENT_TOKENS = ("<|start|>", "<|message|>", "<|eom|>", "<|eot|>")

NAMED = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' %}>>>all\n{% endif %}{{ message.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n>>>{% endif %}"
)

DECLARED = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {"open": "<|a|>", "close": "<|b|>", "content": "text"},
        "content": {"close_pattern": r"<\|im_end\|>", "content": "text"},
    },
}


@dataclass(frozen=True)
class Format:
    """A family's marks, and a reply in them."""

    name: str
    template: str | None
    reply: tuple[str, ...]
    """A control token is that one token, all else is text."""
    thought: str
    answer: str
    control: tuple[str, ...] = IM
    plain: tuple[str, ...] = ()
    ends: tuple[str, ...] = ("<|im_end|>",)
    """The makers' end of a reply."""
    more: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def channel(name: str, text: str, end: str = "<|end|>") -> tuple[str, ...]:
    return ("<|channel|>", name, "<|message|>", text, end, "<|start|>", "assistant")


FINAL = ("<|channel|>", "final", "<|message|>", "Hello!", "<|return|>")
OSS: dict[str, Any] = {"template": GPT_OSS, "control": GPT_OSS_TOKENS, "ends": ("<|return|>", "<|call|>")}

FORMATS = [
    Format("no marks", CHATML, ("Hello!", "<|im_end|>"), "", "Hello!"),
    Format("text", CHATML, ("<think>\nHm.\n</think>\n\nHello!", "<|im_end|>"), "Hm.\n", "Hello!"),
    Format(
        "added tokens",
        CHATML,
        ("<think>", "Hm.", "</think>", "Hi", "<|im_end|>"),
        "Hm.",
        "Hi",
        plain=("<think>", "</think>"),
    ),
    Format(
        "special tokens",
        CHATML,
        ("[THINK]", "plan", "[/THINK]", "Answer is 4.", "<|im_end|>"),
        "plan",
        "Answer is 4.",
        control=(*IM, "[THINK]", "[/THINK]"),
    ),
    Format(
        "text, then a token",
        CHATML,
        ("<think>plan", "</think>", "4", "<|im_end|>"),
        "plan",
        "4",
        control=(*IM, "</think>"),
    ),
    Format(
        "a token, then text", CHATML, ("<think>", "plan</think>4", "<|im_end|>"), "plan", "4", control=(*IM, "<think>")
    ),
    Format("opened by the prompt", OPENED, ("Hm.\n</think>\n\nHello!", "<|im_end|>"), "Hm.\n", "Hello!"),
    Format(
        "opened by the prompt, special",
        OPENED,
        ("plan", "</think>", "4", "<|im_end|>"),
        "plan",
        "4",
        control=(*IM, "<think>", "</think>"),
    ),
    Format("two thoughts", CHATML, ("<think>a</think><think>b</think>c", "<|im_end|>"), "a\n\nb", "c"),
    Format(
        "two thoughts, special",
        CHATML,
        ("[THINK]", "a", "[/THINK]", "x", "[THINK]", "b", "[/THINK]", "y", "<|im_end|>"),
        "a\n\nb",
        "xy",
        control=(*IM, "[THINK]", "[/THINK]"),
    ),
    Format("closing alone", CHATML, ("plan", "</think>", "4", "<|im_end|>"), "plan", "4", control=(*IM, "</think>")),
    Format("closing alone, text", CHATML, ("plan\n</think>\n\n4", "<|im_end|>"), "plan\n", "4"),
    Format(
        "answer marked",
        GRANITE,
        ("<think>Hm.</think><response>4.</response>", "<|eot|>"),
        "Hm.",
        "4.",
        control=("<|role|>", "<|/role|>", "<|eot|>"),
        ends=("<|eot|>",),
    ),
    Format(
        "answer marker alone",
        GRANITE,
        ("Hm, four.\n<response>4.</response>", "<|eot|>"),
        "Hm, four.\n",
        "4.",
        control=("<|role|>", "<|/role|>", "<|eot|>"),
        ends=("<|eot|>",),
    ),
    Format(
        "answer marker alone, special",
        CHATML,
        ("plan", "<|START_RESPONSE|>", "4", "<|END_RESPONSE|>", "<|im_end|>"),
        "plan",
        "4",
        control=(*IM, "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ),
    Format(
        "learned from the template",
        OWN,
        ("<|muse|>", "Hm.", "<|/muse|>", "\n\nHello!", "<|im_end|>"),
        "Hm.",
        "Hello!",
        control=(*IM, "<|muse|>", "<|/muse|>"),
    ),
    Format("learned from the template, text", OWN, ("<|muse|>Hm.<|/muse|>\n\nHello!", "<|im_end|>"), "Hm.", "Hello!"),
    Format(
        "declared by the tokenizer",
        CHATML,
        ("<|a|>", "Hm.", "<|b|>", "Hello!", "<|im_end|>"),
        "Hm.",
        "Hello!",
        control=(*IM, "<|a|>", "<|b|>"),
        more={"response_template": DECLARED},
    ),
    Format(
        "declared wrongly",
        CHATML,
        ("<think>Hm.</think>Hello!", "<|im_end|>"),
        "Hm.",
        "Hello!",
        more={"response_template": {"fields": 3}},
    ),
    Format(
        "channels",
        reply=(*channel("analysis", "User greets me."), *FINAL),
        thought="User greets me.",
        answer="Hello!",
        **OSS,
    ),
    Format(
        "channels with blanks",
        reply=(
            "<|channel|>",
            " analysis",
            "<|message|>",
            "Hm.",
            "<|end|>",
            "<|start|>",
            "assistant",
            "<|channel|>",
            " final",
            "<|message|>",
            "Hello!",
            "<|return|>",
        ),
        thought="Hm.",
        answer="Hello!",
        **OSS,
    ),
    Format(
        "a thought that says its mark",
        CHATML,
        ("[THINK]", "say [/TH", "INK] now", "[/THINK]", "Answer", "<|im_end|>"),
        "say [/THINK] now",
        "Answer",
        control=(*IM, "[THINK]", "[/THINK]"),
    ),
    Format(
        "an answer in common words",
        CHATML + "{# <answer> #}",
        ("<think>\nplan\n</think>\n<answer>\nAns\n</answer>", "<|im_end|>"),
        "plan\n",
        "Ans\n",
    ),
    Format(
        "declared, with a tool call that is wrong",
        CHATML,
        ("<|a|>", "Hm.", "<|b|>", 'ok <tool_call>{"a":</tool_call> done', "<|im_end|>"),
        'Hm.{"a":',
        "ok  done",
        control=(*IM, "<|a|>", "<|b|>"),
        more={
            "response_template": {
                "start_anchor": "<|im_start|>assistant\n",
                "fields": {
                    "thinking": {"open": "<|a|>", "close": "<|b|>"},
                    "tool_calls": {"open": "<tool_call>", "close": "</tool_call>", "repeats": True, "content": "json"},
                    "content": {},
                },
            }
        },
    ),
    Format("channels without thought", reply=FINAL, thought="", answer="Hello!", **OSS),
    Format(
        "channels, two thoughts",
        reply=(*channel("analysis", "a"), *channel("analysis", "b"), *FINAL),
        thought="a\n\nb",
        answer="Hello!",
        **OSS,
    ),
    Format(
        "a channel for a tool",
        reply=(*channel("commentary to=functions.f", "{}", "<|call|>")[:-2],),
        thought="{}",
        answer="",
        **OSS,
    ),
    Format(
        "a recipient in the role",
        reply=(" to=functions.f", *channel("commentary", "{}"), *FINAL),
        thought="{}",
        answer="Hello!",
        **OSS,
    ),
    Format(
        "a preamble for the user",
        reply=(*channel("commentary", "I look."), *FINAL),
        thought="",
        answer="I look.\n\nHello!",
        **OSS,
    ),
    Format("no channel at all", reply=("Hello!", "<|return|>"), thought="", answer="Hello!", **OSS),
    Format(
        "two messages",
        SOLAR,
        ("<|think|>", "plan", "<|end|>", "<|begin|>", "assistant", "<|content|>", "Answer", "<|flush|>"),
        "plan",
        "Answer",
        control=SOLAR_TOKENS,
        ends=("<|flush|>",),
    ),
    Format(
        "two thoughts in two messages",
        SOLAR,
        (
            "<|think|>",
            "a",
            "<|end|>",
            "<|begin|>",
            "assistant",
            "<|think|>",
            "b",
            "<|end|>",
            "<|begin|>",
            "assistant",
            "<|content|>",
            "Answer",
            "<|flush|>",
        ),
        "a\n\nb",
        "Answer",
        control=SOLAR_TOKENS,
        ends=("<|flush|>",),
    ),
    Format(
        "a recipient's name before the answer",
        NAMED,
        ("all\nHello, all\nof you!", "<|im_end|>"),
        "",
        "Hello, all\nof you!",
    ),
    Format(
        "a recipient before each message",
        RECIPIENT,
        (
            " to=self",
            "<|message|>",
            "Hm.",
            "<|eom|>",
            "<|start|>",
            "assistant to=user",
            "<|message|>",
            "Hello!",
            "<|eot|>",
        ),
        "Hm.",
        "Hello!",
        control=RECIPIENT_TOKENS,
        ends=("<|eot|>",),
    ),
    Format(
        "a recipient before the only message",
        RECIPIENT,
        (" to=user", "<|message|>", "Hello!", "<|eot|>"),
        "",
        "Hello!",
        control=RECIPIENT_TOKENS,
        ends=("<|eot|>",),
    ),
    Format(
        "a thought with a role of its own",
        ROLE,
        ("/think\n생각", "<|im_end|>", "\n", "<|im_start|>", "assistant\n답", "<|im_end|>", "<|endofturn|>"),
        "생각",
        "답",
        control=(*IM, "<|endofturn|>"),
        ends=("<|endofturn|>",),
    ),
    Format(
        "no thought, which would have a role of its own",
        ROLE,
        ("\n답", "<|im_end|>", "<|endofturn|>"),
        "",
        "답",
        control=(*IM, "<|endofturn|>"),
        ends=("<|endofturn|>",),
    ),
    Format(
        "base model",
        None,
        ("<think>Hm.</think>Hello!", "</s>"),
        "Hm.",
        "Hello!",
        control=("<s>", "</s>"),
        ends=("</s>",),
    ),
]

QUESTION = Message("user", "What is 2+2? <think> <|channel|>")


def tokenizer_of(format: Format) -> Any:
    tokenizer = with_template(byte_level(format.control, format.plain), format.template)
    for name, value in format.more.items():
        setattr(tokenizer, name, value)
    return tokenizer


def ids_of(tokenizer: Any, parts: Sequence[str]) -> list[int]:
    vocab = tokenizer.get_vocab()
    encode = PromptBuilder(tokenizer, None)._encode_text
    return [
        token
        for part in parts
        for token in ([vocab[part]] if part in vocab and part[0] in "<[" else encode(part, False))
    ]


def model_of(format: Format, kind: str) -> LoadedModel:
    """Return a model that computes, but whose tokens are scripted."""
    tokenizer = tokenizer_of(format)
    network = tiny_model("mamba" if kind == "detour" else "llama", vocab_size=len(tokenizer))
    made: Any = pipeline("text-generation", model=network, tokenizer=tokenizer, pipeline_class=ChatPipeline)
    network.generation_config.eos_token_id = [tokenizer.get_vocab()[end] for end in format.ends]
    prompts = PromptBuilder(tokenizer, 2048)
    ends = tuple(end_of_reply_ids(network, tokenizer, prompts))
    with torch.inference_mode():
        step = None if kind == "detour" else FastStep(network, "bf16")
    return LoadedModel("tiny", made, prompts, ends, tuple(decoder_layers(network)), "CPU", step)


def write(
    model: LoadedModel, reply: Sequence[int], monkeypatch: pytest.MonkeyPatch, request: ChatRequest
) -> RunningReply:
    """Write a scripted reply to a request, beside another one."""
    prompts: dict[int, int] = {}

    def sampler(options: Options, seed: int) -> Any:
        return lambda logits, ids: reply[len(ids) - prompts.setdefault(id(ids), len(ids))]

    monkeypatch.setattr(running, "make_sampler", sampler)
    decode_request = make_decode_request(model.prompts, request)
    both = [RunningReply(model, decode_request, StopSignal()) for _ in range(2)]
    loop = Loop(CallingThread(), most=2 if model.step else 1)
    with loop._lock:  # both are there before the first round
        loop._waiting.extend(both[:1])
    loop.add(both[1])
    first, second = ((one.streamer.thought, one.streamer.text) for one in both)
    assert first == second
    return both[0]


def asked(*messages: Message, **more: Any) -> ChatRequest:
    return ChatRequest(messages or (QUESTION,), "", Options(temperature=0, max_new_tokens=300), **more)


@pytest.mark.parametrize("kind", ["step", "detour"])
@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_a_reply_is_thought_and_answer(format: Format, kind: str, monkeypatch: pytest.MonkeyPatch):
    model = model_of(format, kind)
    reply = write(model, ids_of(model.tokenizer, format.reply), monkeypatch, asked())
    assert (reply.streamer.thought, reply.streamer.text) == (format.thought, format.answer)
    assert reply.done.result().finish_reason == "end_of_turn"
    assert reply.done.result().new_tokens == len(ids_of(model.tokenizer, format.reply))
    assert bool(reply.done.result().thought_s) == bool(format.thought) or not format.answer
    pieces = SimpleNamespace(text="", thought="")
    for delta in reply.streamer.deltas():
        pieces.text, pieces.thought = delta.added_to(pieces.text, pieces.thought)
    assert (pieces.thought, pieces.text) == (format.thought, format.answer)


@pytest.mark.parametrize("format", [one for one in FORMATS if one.template and one.answer], ids=str)
def test_the_next_prompt_is_what_the_template_makes_of_thought_and_answer(format: Format):
    tokenizer = tokenizer_of(format)
    question, again = "What is 2+2?", "And 3+3?"
    reply = Message("assistant", format.answer, format.thought)
    prompt = PromptBuilder(tokenizer, 2048).build([Message("user", question), reply, Message("user", again)], "", 8)
    stock = [{"role": "user", "content": question}, {"role": "assistant", "content": format.answer}]
    if format.thought:
        stock[-1]["reasoning_content"] = format.thought
    stock.append({"role": "user", "content": again})
    expected = tokenizer.apply_chat_template(stock, add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(prompt.ids) == expected


TEMPLATES = {format.template: format for format in FORMATS if format.template}


@pytest.mark.parametrize("thought", ["", "Hm, two and two"])
@pytest.mark.parametrize("format", TEMPLATES.values(), ids=str)
def test_a_reply_that_begins_with_text_is_laid_out_as_the_template_does(format: Format, thought: str):
    tokenizer = tokenizer_of(format)
    prompt = PromptBuilder(tokenizer, 2048).build(
        [Message("user", "Hi")], "", 8, reply_start="The answer is", thought_start=thought
    )
    reply = {"role": "assistant", "content": "The answer is"} | ({"reasoning_content": thought} if thought else {})
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, reply], continue_final_message=True, tokenize=False
    )
    assert tokenizer.decode(prompt.ids) == expected


@pytest.mark.parametrize("known", [True, False], ids=["tokens known", "tokens not known"])
@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_a_reply_that_was_cut_anywhere_goes_on_as_what_it_was(format: Format, known: bool):
    tokenizer = tokenizer_of(format)
    prompts, ids = PromptBuilder(tokenizer, 2048), ids_of(tokenizer, format.reply)
    ends = ids[-1:]
    model: Any = LoadedModel("tiny", SimpleNamespace(tokenizer=tokenizer), prompts, ends, (), "CPU")
    for cut in range(1, len(ids)):
        begun = make_streamer(model, make_decode_request(prompts, asked()))
        for token_id in ids[:cut]:
            begun.add(token_id)
        begun.complete()
        text, thought = begun.text, begun.thought
        if not (text or thought):
            continue
        goes_on = asked(reply_start=text, thought_start=thought, continues=True)
        streamer = make_streamer(model, make_decode_request(prompts, goes_on, tuple(ids[:cut]) if known else ()))
        for token_id in ids[cut:]:
            streamer.add(token_id)
        streamer.complete()
        if known:
            assert (streamer.thought, streamer.text) == (format.thought, format.answer)
        else:
            assert streamer.text.startswith(text) and streamer.thought.startswith(thought)


def test_a_thought_with_a_role_of_its_own_that_the_prompt_opens_is_closed():
    role = next(one for one in FORMATS if one.template == ROLE and one.thought)
    marks = PromptBuilder(tokenizer_of(role), 2048).reply_format
    assert marks.open_thought() == "/think\n"
    assert marks.close_thought("<|im_start|>assistant/think\n") == "<|im_end|>\n<|im_start|>assistant"
    assert marks.close_thought("<|im_start|>assistant") == ""


def test_a_stop_text_in_what_becomes_thought_stops_nothing():
    """The template marks each answer, so that all before the mark is thought."""
    final = CHATML.replace(
        "{{ message.content }}", "{% if message.role == 'assistant' %}<|final|>{% endif %}{{ message.content }}"
    )
    format = Format("marked", final, ("plan STOP more", "<|final|>", "Ans STOP x"), "", "", control=(*IM, "<|final|>"))
    tokenizer = tokenizer_of(format)
    prompts = PromptBuilder(tokenizer, 2048)
    model: Any = LoadedModel("tiny", SimpleNamespace(tokenizer=tokenizer), prompts, (), (), "CPU")
    request = ChatRequest((QUESTION,), "", Options(stop_texts=("STOP",)))
    streamer = make_streamer(model, make_decode_request(prompts, request))
    for token_id in ids_of(tokenizer, format.reply):
        if not streamer.stop_text_found:
            streamer.add(token_id)
    streamer.complete()
    assert (streamer.thought, streamer.text, streamer.stop_text_found) == ("plan STOP more", "Ans ", True)


@pytest.mark.parametrize(
    ("makers", "tokenizers", "ends"),
    [
        (["<|x|>"], "</s>", {"<|x|>", "<|im_end|>"}),
        (["<|x|>", "</s>"], "</s>", {"<|x|>", "</s>", "<|im_end|>"}),
        ([], "</s>", {"</s>", "<|im_end|>"}),
    ],
)
def test_the_makers_say_where_a_reply_ends(makers: list[str], tokenizers: str, ends: set[str]):
    tokenizer = tokenizer_of(Format("ends", CHATML, (), "", "", control=(*IM, "<|x|>", "</s>")))
    tokenizer.eos_token = tokenizers
    ids = [tokenizer.get_vocab()[end] for end in makers]
    network = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=ids or None))
    found = end_of_reply_ids(network, tokenizer, PromptBuilder(tokenizer, None))
    assert set(tokenizer.convert_ids_to_tokens(sorted(found))) == ends
