"""Chat templates are tried when the model is loaded: what they show, how they can be asked to think, what they see."""

import sys
import threading
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hfdemo.chat import template
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options, Thinking
from hfdemo.chat.prompt import PromptBuilder
from hfdemo.chat.template import ChatTemplate
from hfdemo.errors import GenerationFailed, InvalidInput, ModelLoadError
from tests.conftest import wait_until
from tests.unit.families import (
    CHATML,
    CHATML_TOKENS,
    THINKING,
    base_models,
    byte_level,
    opens_texts_with,
    unigram,
    with_template,
)

NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
"""The sandbox bounds a range, and nothing else."""

QUESTION = [Message("user", "What is the capital of Korea?")]
RAISES_UNLESS_TOOLS = "{% if not tools %}{{ raise_exception('Only tool calls are supported') }}{% endif %}" + CHATML
GOES_THROUGH = "{{% for item in {} %}}{{{{ item }}}}{{% endfor %}}" + CHATML.replace("{", "{{").replace("}", "}}")

SWITCHED = (
    "{%- set mode = '/think' if enable_thinking else '/no_think' %}"
    "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content %}{%- set messages = messages[1:] %}"
    "{%- if '/no_think' in system %}{%- set mode = '/no_think' %}"
    "{%- elif '/think' in system %}{%- set mode = '/think' %}{%- endif %}"
    "{{- '<|im_start|>system\n' + system.replace('/no_think', '').replace('/think', '').rstrip() + '<|im_end|>\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if mode == '/no_think' %}{{- '<think>\n\n</think>\n' }}{%- endif %}{%- endif %}"
)
"""As SmolLM3's."""


def tokenizer(template: str | dict[str, str] | None) -> Any:
    made = byte_level(CHATML_TOKENS, THINKING)
    made.chat_template = template
    return made


def before_reply(lines: str) -> str:
    """Return a template that writes something before the reply."""
    return CHATML + "{% if add_generation_prompt %}" + lines + "{% endif %}"


def stock(made: Any, turns: list[Message], system: str = "", **variables: Any) -> list[int]:
    said = [{"role": "system", "content": system}] if system else []
    said += [{"role": turn.role, "content": turn.content} for turn in turns]
    return list(made.apply_chat_template(said, return_dict=False, add_generation_prompt=True, **variables))


class TestModes:
    @pytest.mark.parametrize(
        ("lines", "modes"),
        [
            ("{% if enable_thinking %}<think>{% endif %}", ("off", "on")),
            ("{% if thinking is defined and thinking %}<think>{% endif %}", ("off", "on")),
            ("{{ {'enabled': 'hm', 'disabled': ''}[thinking_mode | default('enabled')] }}", ("off", "on")),
            (
                "{% set budget = thinking_budget | default(-1) %}{{ 'none' if budget == 0 else budget }}",
                ("off", "on", "low", "medium", "high"),
            ),
            ("{{ reasoning_effort | default('medium') }}", ("low", "medium", "high")),
            ("{{ reasoning_effort | default('high') }}{# 'minimal' #}", ("off", "low", "medium", "high")),
            ("{{ 1 if thinking_mode | default('off') == 'on' else 0 }}", ("off", "on")),
            ("{{ raise_exception('no') if enable_thinking else (enable_thinking is defined) | int }}", ("off",)),
            ("{{ 'a' if reasoning_effort is defined or enable_thinking else 'b' }}{# R18 #}", ("off", "on")),
            ("{{ 'no' if reasoning_effort | default('high') in ['low', 'minimal'] else 'yes' }}", ("off", "on")),
            (
                "{% set effort = reasoning_effort | default('no_think') %}"
                "{{ effort if effort in ['no_think', 'low', 'high'] else raise_exception(effort) }}",
                ("off", "low", "high"),
            ),
        ],
        ids=[
            "enable_thinking",
            "thinking",
            "thinking_mode",
            "thinking_budget",
            "reasoning_effort",
            "the highest effort by itself",
            "thinking_mode in other words",
            "raises on on",
            "alike",
            "effort that is off",
            "raises on medium",
        ],
    )
    def test_are_those_whose_prompts_differ(self, lines: str, modes: tuple[Thinking, ...]):
        made = tokenizer(before_reply(lines))
        prompts = PromptBuilder(made, None)
        assert prompts.thinking_modes == modes
        shown = {mode: prompts.build(QUESTION, "", 8, thinking=mode).ids for mode in modes}
        assert len(set(shown.values())) == len(modes)
        for mode in modes:
            assert list(shown[mode]) == stock(made, QUESTION, **prompts.template.variables(mode))
        auto = prompts.build(QUESTION, "", 8).ids
        assert auto == (shown["off"] if "off" in modes else tuple(stock(made, QUESTION)))

    @pytest.mark.parametrize(
        "template",
        [
            CHATML,
            CHATML + "{# enable_thinking, reasoning_effort #}",
            CHATML + "{% if enable_thinking and false %}<think>{% endif %}",
            CHATML.replace("message['content']", "message['content'] + (message.thinking or '')"),
            CHATML + "{{ raise_exception('no') if thinking_mode is defined }}",
            None,
        ],
    )
    def test_are_none_where_a_name_alone_is_there(self, template: str | None):
        assert PromptBuilder(tokenizer(template), None).thinking_modes == ()

    def test_off_says_so_in_every_variable(self):
        lines = "{{ 'on' if enable_thinking or thinking | default(true) else 'off' }}"
        prompts = PromptBuilder(tokenizer(before_reply(lines)), None)
        assert prompts.text(prompts.build(QUESTION, "", 8, thinking="off").ids).endswith("off")
        assert prompts.text(prompts.build(QUESTION, "", 8, thinking="on").ids).endswith("on")

    def test_that_the_model_lacks_are_refused_with_those_it_has(self):
        prompts = PromptBuilder(tokenizer(before_reply("{% if enable_thinking %}<think>{% endif %}")), None)
        for mode in ("auto", "off", "on"):
            assert prompts.fit(Options(thinking=mode)).thinking == mode
        with pytest.raises(InvalidInput) as refused:
            prompts.fit(Options(thinking="high"))
        assert str(refused.value) == "This model has no thinking mode high. Choose one of: auto, off, on."

    def test_auto_is_never_refused(self):
        prompts = PromptBuilder(tokenizer(CHATML), None)
        assert prompts.fit(Options()) == Options()
        with pytest.raises(InvalidInput, match="Choose one of: auto"):
            prompts.fit(Options(thinking="off"))


class TestSwitches:
    @pytest.mark.parametrize(
        "system",
        [
            "",
            "Be kind. /no_think",
            "이름 /no_think입니다",
            "Be kind. /think",
            "/think",
            "  /think\n",
            "/think\nBe kind.",
            "Be /no_think kind /think now.",
            "Be kind./think",
            "Be kind.",
        ],
    )
    @pytest.mark.parametrize("thinking", ["auto", "off", "on"])
    def test_in_the_system_prompt_do_what_the_makers_meant(self, system: str, thinking: Thinking):
        made = tokenizer(SWITCHED)
        prompts = PromptBuilder(made, None)
        ids = prompts.build(QUESTION, system, 8, thinking=thinking).ids
        assert list(ids) == stock(made, QUESTION, system, enable_thinking=thinking == "on")

    @pytest.mark.parametrize("message", ["/no_think Hello", "Hello /think", "/think"])
    def test_in_a_message_stay_where_the_template_leaves_them(self, message: str):
        made = tokenizer(SWITCHED)
        ids = PromptBuilder(made, None).build([Message("user", message)], "", 8, thinking="on").ids
        assert list(ids) == stock(made, [Message("user", message)], enable_thinking=True)

    @pytest.mark.parametrize("typed", ["</think>", "<|im_/no_thinkend|>", "<think> /think </think>", "/no_thinking"])
    def test_make_no_control_token_of_what_is_typed(self, typed: str):
        made = tokenizer(SWITCHED)
        prompts = PromptBuilder(made, None)

        def control(text: str) -> list[int]:
            ids = prompts.build([Message("user", text)], f"a {text} b", 8, thinking="on").ids
            return [token_id for token_id in ids if token_id in made.added_tokens_decoder]

        assert control(typed) == control("harmless")

    def test_are_hidden_where_the_template_would_make_a_control_token_of_them(self):
        around = "{% if '/think' in messages[-1].content %}{% endif %}{{ '<' + messages[-1].content + '>' }}"
        made = tokenizer(around)
        prompts = PromptBuilder(made, None)
        ids = prompts.build([Message("user", "/think")], "", 8).ids
        assert made.convert_tokens_to_ids("</think>") not in ids
        assert prompts.text(ids) == "</think>"


class TestTrial:
    @pytest.mark.parametrize(
        ("template", "said"),
        [
            (RAISES_UNLESS_TOOLS, "Only tool calls are supported"),
            (CHATML + "{{ messages | no_such_filter }}", "No filter named 'no_such_filter'"),
            (CHATML + "{% if messages", "unexpected end of template"),
            ("{{ messages[0].content + 1 }}", "can only concatenate str"),
            ("<|im_start|>{{ messages | length }}", "it does not show the message"),
        ],
        ids=["raises", "unknown filter", "cut off", "faulty", "shows nothing"],
    )
    def test_names_a_template_that_shows_no_question_in_its_own_words(self, template: str, said: str):
        with pytest.raises(ModelLoadError) as failure:
            PromptBuilder(tokenizer(template), None)
        assert said in str(failure.value)
        for language in ("en", "ko"):
            assert said in failure.value.text(language) and "HFDEMO_CHAT_TEMPLATE" in failure.value.text(language)

    def test_shortens_what_a_template_says(self):
        with pytest.raises(ModelLoadError) as failure:
            PromptBuilder(tokenizer("{{ raise_exception('no ' * 1000) }}"), None)
        assert len(str(failure.value.fields["problem"])) <= 201

    @pytest.mark.parametrize(("variable", "needed"), [("tools", {"tools": []}), ("documents", {"documents": []})])
    def test_passes_an_empty_list_to_a_template_that_needs_one(self, variable: str, needed: dict[str, Any]):
        made = tokenizer(GOES_THROUGH.format(variable))
        prompts = PromptBuilder(made, None)
        assert prompts.template.extra == needed
        assert list(prompts.build(QUESTION, "", 8).ids) == stock(made, QUESTION, **needed)

    def test_passes_no_list_that_is_not_needed(self):
        made = tokenizer("{% if tools is not none %}{{ 'Tools:' }}{% endif %}" + CHATML)
        prompts = PromptBuilder(made, None)
        assert prompts.template.extra == {}
        assert "Tools:" not in prompts.text(prompts.build(QUESTION, "", 8).ids)

    def test_passes_special_tokens_under_their_older_name(self):
        made = tokenizer("{{ bos_token }}{{ additional_special_tokens[0] }}" + CHATML)
        prompts = PromptBuilder(made, None)
        text = prompts.text(prompts.build(QUESTION, "", 8).ids)
        assert text.startswith(f"{made.bos_token}{made.extra_special_tokens[0]}<|im_start|>user")


NAMED = {"tool_use": CHATML + "{{ 'You have tools.' }}", "rag": CHATML, "broken": "{{ raise_exception('no') }}"}


class TestNamedTemplates:
    def test_of_which_none_is_the_default_give_the_most_general_and_say_so(self):
        made = tokenizer(NAMED)
        prompts = PromptBuilder(made, None)
        assert prompts.template.source == CHATML
        [note] = prompts.notes
        assert "(tool_use, rag, broken)" in note.text("en") and "uses rag" in note.text("en")
        assert "rag을 사용합니다" in note.text("ko") or "rag를 사용합니다" in note.text("ko")
        assert list(prompts.build(QUESTION, "", 8).ids) == stock(made, QUESTION, chat_template=CHATML)

    def test_with_a_default_give_that(self):
        prompts = PromptBuilder(tokenizer({**NAMED, "default": CHATML + "{{ 'default' }}"}), None)
        assert prompts.template.source.endswith("{{ 'default' }}")
        assert prompts.notes == ()

    def test_that_all_fail_name_the_others(self):
        made = tokenizer({"tool_use": RAISES_UNLESS_TOOLS, "rag": "{{ raise_exception('no') }}"})
        with pytest.raises(ModelLoadError) as failure:
            ChatTemplate(made)
        assert "Only tool calls are supported" in str(failure.value)
        assert "templates (rag)" in str(failure.value)

    def test_can_be_chosen_by_the_host(self, tmp_path: Path):
        file = tmp_path / "own.jinja"
        file.write_text(CHATML + "{{ 'own' }}", "utf-8")
        made = tokenizer(NAMED)
        assert ChatTemplate(made, "tool_use").source == NAMED["tool_use"]
        assert ChatTemplate(made, str(file)).source.endswith("{{ 'own' }}")
        plain = ChatTemplate(made, "none")
        assert plain.of_base_model and plain.is_put_aside
        assert "HFDEMO_CHAT_TEMPLATE is none" in plain.notes[0].text("en")
        with pytest.raises(ModelLoadError) as failure:
            ChatTemplate(made, "nothing")
        assert "tool_use, rag, broken, none" in str(failure.value)

    def test_are_left_aside_for_the_prompt_of_a_base_model(self):
        made = tokenizer(CHATML)
        prompts = PromptBuilder(made, None, template=ChatTemplate(made, "none"))
        assert prompts.base_model and prompts.stop_texts
        assert prompts.text(prompts.build(QUESTION, "", 8).ids).endswith("Korea?\nAssistant:")


class TestSizes:
    def test_that_disagree_are_said_and_the_words_beyond_are_split(self):
        made = byte_level(CHATML_TOKENS, ["Seoul"])
        made.chat_template = CHATML
        beyond = made.convert_tokens_to_ids("Seoul")
        assert beyond == len(made) - 1
        prompts = PromptBuilder(made, None, embeddings=beyond)
        ids = prompts.build([Message("user", "In Seoul")], "Seoul", 8).ids
        assert max(ids) < beyond
        assert prompts.text(ids).count("Seoul") == 2
        [note] = prompts.notes
        assert f"has {beyond + 1:,} tokens, the model itself only {beyond:,}" in note.text("en")
        assert beyond in PromptBuilder(made, None).build([Message("user", "In Seoul")], "", 8).ids

    def test_leave_pieces_of_the_vocabulary_out_that_the_model_lacks(self):
        made = with_template(unigram(["<s>", "</s>"]), CHATML)
        piece = max(made.get_vocab().values())
        prompts = PromptBuilder(made, None, embeddings=piece)
        typed = made.convert_ids_to_tokens(piece).replace("▁", " ").strip()
        assert max(prompts.build([Message("user", f"{typed} {typed}")], "", 8).ids) < piece

    def test_that_agree_are_not_mentioned(self):
        made = tokenizer(CHATML)
        assert PromptBuilder(made, None, embeddings=len(made)).notes == ()
        assert PromptBuilder(made, None, embeddings=len(made) + 64).notes == ()

    def test_refuse_by_its_name_a_word_that_cannot_be_split(self):
        words = Tokenizer(models.WordLevel({"<unk>": 2, "a": 0, "b": 1, "Seoul": 3}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
        prompts = PromptBuilder(with_template(made, "{{ messages[-1].content }}"), None, embeddings=2)
        with pytest.raises(InvalidInput) as refused:
            prompts.build([Message("user", "a b Seoul")], "", 8)
        assert refused.value.key == "unreadable_token" and "<unk>" in str(refused.value)

    def test_for_which_the_template_itself_is_too_large_are_named(self):
        made = tokenizer(CHATML)
        beyond = made.convert_tokens_to_ids("<|im_end|>")
        with pytest.raises(ModelLoadError) as failure:
            PromptBuilder(made, None, embeddings=beyond)
        assert failure.value.key == "template_token_beyond" and "<|im_end|>" in str(failure.value)


class TestComposedLetters:
    HELLO = "안녕하세요, café"

    @pytest.mark.parametrize("place", ["message", "system prompt", "answer"])
    def test_take_as_many_tokens_however_they_are_typed(self, place: str):
        prompts = PromptBuilder(tokenizer(CHATML), None)

        def ids(text: str) -> tuple[int, ...]:
            texts = dict.fromkeys(["message", "system prompt", "answer"], "Hi") | {place: text}
            turns = [*QUESTION, Message("assistant", texts["answer"]), Message("user", texts["message"])]
            return prompts.build(turns, texts["system prompt"], 8).ids

        apart = unicodedata.normalize("NFD", self.HELLO)
        assert apart != self.HELLO and ids(apart) == ids(self.HELLO)

    def test_leave_the_kept_tokens_of_a_reply_as_they_are(self):
        prompts = PromptBuilder(tokenizer(CHATML), None)
        kept = prompts.tokenizer(unicodedata.normalize("NFD", self.HELLO)).input_ids
        ids = prompts.build(QUESTION, "", 8, reply_start=self.HELLO, reply_ids=kept).ids
        assert list(ids[-len(kept) :]) == kept

    def test_are_left_apart_where_the_tokenizers_makers_chose_so(self):
        made = tokenizer(CHATML)
        made.backend_tokenizer.normalizer = normalizers.NFD()
        ids = PromptBuilder(made, None).build([Message("user", self.HELLO)], "", 8).ids
        assert list(ids) == stock(made, [Message("user", self.HELLO)])
        assert unicodedata.normalize("NFD", self.HELLO) in PromptBuilder(made, None).text(ids)


class TestBaseModels:
    @pytest.mark.parametrize("bos_token", [None, "<|im_end|>"])
    def test_begin_as_the_post_processor_says_whatever_the_bos_token_is(self, bos_token: str | None):
        made = opens_texts_with(byte_level(CHATML_TOKENS), "<|endoftext|>")
        made.bos_token = bos_token
        opening = made.convert_tokens_to_ids("<|endoftext|>")
        assert made("").input_ids == [opening]
        ids = PromptBuilder(made, None).build(QUESTION, "", 8).ids
        assert list(ids) == made(f"User: {QUESTION[0].content}\nAssistant:").input_ids
        assert ids[0] == opening

    def test_begin_with_all_that_stands_before_a_text_and_nothing_that_follows_one(self):
        made = byte_level(CHATML_TOKENS)
        names = {token: made.convert_tokens_to_ids(token) for token in CHATML_TOKENS}
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> <|im_end|> $A <|endoftext|>", special_tokens=list(names.items())
        )
        ids = PromptBuilder(made, None).build(QUESTION, "", 8).ids
        assert list(ids[:2]) == [names["<|im_start|>"], names["<|im_end|>"]]
        assert names["<|endoftext|>"] not in ids

    def test_that_open_a_text_with_nothing_begin_with_the_text(self):
        family = base_models()[0]
        ids = PromptBuilder(family.tokenizer, None).build(QUESTION, "", 8).ids
        assert list(ids) == family.tokenizer(f"User: {QUESTION[0].content}\nAssistant:").input_ids


@pytest.fixture
def hurried(monkeypatch) -> None:
    monkeypatch.setattr(template, "RENDERED_WITHIN_S", 0.3)


@pytest.mark.parametrize(
    "source",
    [NESTED + CHATML, CHATML + "{% if enable_thinking is defined and enable_thinking %}" + NESTED + "{% endif %}"],
    ids=["always", "when it is asked to think"],
)
def test_a_template_that_goes_on_and_on_is_named_when_the_model_is_loaded(source, hurried):
    begun = time.monotonic()
    with pytest.raises(ModelLoadError, match=r"it does not end within 0.3 s") as refused:
        ChatTemplate(tokenizer(source))
    assert refused.value.key == "template_fails" and refused.value.advice == "no_template"
    assert time.monotonic() - begun < 3
    wait_until(lambda: "limited" not in [thread.name for thread in threading.enumerate()], 5)


@pytest.mark.parametrize(
    ("excess", "problem"),
    [
        ("{% set a = 9 %}{{ (a ** a) ** (a ** a) > 1 }}", "it does not end within 2 s"),
        ("{{ 'a' * 6000000000 }}", "it takes more than 1 GB of memory"),
        ("{{ 'a' | center(9999999999) }}", "it takes more than 1 GB of memory"),
        (
            "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "it takes more than 1 GB of memory",
        ),
        ("{% generation %}{{ '%09999999999d' | format(1) }}{% endgeneration %}", "it takes more than 1 GB of memory"),
        (
            "{% if messages | length > 1 %}{{ range(99999) | list | join('a' * 100000) }}{% endif %}",
            "it takes more than 1 GB of memory",
        ),
        ("{% if messages | length > 20 %}{{ 'a' * 6000000000 }}{% endif %}", "it takes more than 1 GB of memory"),
        ("{% if tools %}{{ 'a' * 6000000000 }}{% endif %}", "it takes more than 1 GB of memory"),
        ("{% if enable_thinking %}{{ 'a' * 6000000000 }}{% endif %}", "it takes more than 1 GB of memory"),
        ("{% if messages[-1].role == 'tool' %}{{ 'a' * 6000000000 }}{% endif %}", "it takes more than 1 GB of memory"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no limit for a process's memory")
def test_what_no_other_thread_could_end_is_named_when_the_model_is_loaded(excess, problem, monkeypatch):
    """Each of these held the whole program up, for ever or until the system ended it for its memory."""
    monkeypatch.setattr(template, "RENDERED_WITHIN_S", 2.0 if "2 s" in problem else 60.0)  # 1 GB takes its time
    longest_pause, stop = [0.0], threading.Event()

    def breathe() -> None:
        last = time.monotonic()
        while not stop.wait(0.01):
            longest_pause[0] = max(longest_pause[0], time.monotonic() - last)
            last = time.monotonic()

    breathing = threading.Thread(target=breathe)
    breathing.start()
    try:
        with pytest.raises(ModelLoadError, match=problem):
            ChatTemplate(tokenizer(excess + CHATML))
    finally:
        stop.set()
        breathing.join()
    assert longest_pause[0] < 1


def test_a_template_that_is_none_is_told_in_its_own_words_without_what_a_terminal_obeys():
    with pytest.raises(ModelLoadError) as refused:
        ChatTemplate(tokenizer("{{ raise_exception('\x1b[31mred \ud800 \u202e') }}"))
    assert "It says: \u201c\ufffd[31mred \ufffd \ufffd\u201d" in refused.value.text("en")
    refused.value.text("ko").encode()


def test_half_a_character_in_a_template_is_replaced():
    made = ChatTemplate(tokenizer("\ud800" + CHATML))
    assert made.render([{"role": "user", "content": "Hi"}], add_generation_prompt=True).startswith("\ufffd")


def test_a_template_is_used_where_no_process_can_be_begun(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    made = ChatTemplate(tokenizer("  " + CHATML))
    assert "Hi" in made.render([{"role": "user", "content": "Hi"}], add_generation_prompt=True)


def test_a_template_that_goes_on_and_on_with_a_longer_conversation_fails_that_turn_only(hurried):
    long = "{% if messages|length > 30 %}" + NESTED + "{% endif %}"
    made = ChatTemplate(tokenizer(long + CHATML))
    said = [{"role": role, "content": template.make_placeholder()} for role in ("user", "assistant") * 16]
    with pytest.raises(GenerationFailed, match="template"):
        made.render(said, add_generation_prompt=True)
    assert said[0]["content"] in made.render(said[:1], add_generation_prompt=True)


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10**9) %}{% endfor %}",
    ],
)
def test_a_template_runs_in_the_sandbox_of_transformers(attack):
    with pytest.raises(ModelLoadError) as refused:
        ChatTemplate(tokenizer(attack + CHATML))
    assert refused.value.key == "template_fails"
