"""What the model reads is what its own chat template says, and what people typed stays text."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hfdemo.errors import GenerationFailed, InvalidInput
from hfdemo.messages import Message
from hfdemo.prompt import PromptBuilder, normalise
from tests.unit.families import Family, all_families, base_models, refusing_families

FAMILIES = [pytest.param(family, id=family.name) for family in all_families()]
BASE_MODELS = [pytest.param(family, id=family.name) for family in base_models()]
REFUSING = [pytest.param(family, id=family.name) for family in refusing_families()]

SYSTEM = "Answer in one word.\nBe polite."
CONVERSATION = [
    Message("user", "What is the capital of Korea?"),
    Message("assistant", "서울입니다 👍🏽"),
    Message("user", "def add(left, right):\n    return left + right\n\n\nExplain    this to the cat."),
    Message("assistant", "It adds.\n\n- left\n- right"),
    Message("user", "감사합니다, 수도"),
    Message("assistant", "You are welcome to Seoul!"),
    Message("user", "그리고 1234567 / 89?"),
    Message("assistant", "The hat."),
    Message("user", "Thanks"),
    Message("assistant", "Bye."),
    Message("user", "Wait"),
]


def builder(family: Family) -> PromptBuilder:
    return PromptBuilder(family.tokenizer, context_limit=None)


def ids_of_template(family: Family, messages: Sequence[Message], system_prompt: str) -> list[int]:
    """Return what transformers itself makes of a conversation without control tokens in its texts."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    if system_prompt and family.system == "takes":
        turns.insert(0, {"role": "system", "content": system_prompt})
    elif system_prompt:
        turns[0]["content"] = f"{system_prompt}\n\n{turns[0]['content']}"
    ids = family.tokenizer.apply_chat_template(
        turns, tokenize=True, return_dict=False, add_generation_prompt=True, enable_thinking=False
    )
    return list(ids)


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def control_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the added tokens that aren't words or white space."""
    tokens = {str(token): token_id for token_id, token in tokenizer.added_tokens_decoder.items()}
    return {token: token_id for token, token_id in tokens.items() if token.strip() and not token.isalnum()}


def conversations(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[Message]]:
    return st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), text), max_size=9).map(
        lambda messages: [*messages, Message("user", "And now?")]
    )


class TestTheTemplate:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("system_prompt", ["", SYSTEM], ids=["without system prompt", "with system prompt"])
    @pytest.mark.parametrize("turns", range(1, 7))
    def test_gives_the_ids_that_transformers_gives(self, family: Family, system_prompt: str, turns: int):
        messages = CONVERSATION[: 2 * turns - 1]
        prompt = builder(family).build(messages, system_prompt, max_new_tokens=8)
        assert list(prompt.ids) == ids_of_template(family, messages, system_prompt)
        assert prompt.dropped == 0

    @pytest.mark.parametrize("family", FAMILIES)
    def test_shows_the_system_prompt_once_whatever_it_does_with_one(self, family: Family):
        prompt = builder(family).build(CONVERSATION[:3], "Xyzzy.", max_new_tokens=8)
        assert decode(family.tokenizer, prompt.ids).count("Xyzzy.") == 1

    @pytest.mark.parametrize("family", FAMILIES)
    def test_sees_a_blank_system_prompt_as_none(self, family: Family):
        prompts = builder(family)
        assert prompts.build(CONVERSATION[:1], " \n\t", 8) == prompts.build(CONVERSATION[:1], "", 8)

    @pytest.mark.parametrize("family", REFUSING)
    def test_that_shows_no_conversation_fails_with_words_for_a_person(self, family: Family):
        with pytest.raises(GenerationFailed) as failure:
            builder(family).build(CONVERSATION[:1], "", max_new_tokens=8)
        assert failure.value.key == "template"

    @pytest.mark.parametrize("family", FAMILIES)
    def test_names_the_token_that_ends_the_turn(self, family: Family):
        expected = {family.tokenizer.convert_tokens_to_ids(family.end_of_turn)}
        assert builder(family).end_of_turn_ids() == expected

    @pytest.mark.parametrize("family", [*BASE_MODELS, *REFUSING])
    def test_names_no_end_of_turn_when_there_is_none(self, family: Family):
        assert builder(family).end_of_turn_ids() == set()

    def test_of_the_real_model_gives_the_ids_that_transformers_gives(self, embedded_model: Path):
        family = real_family(embedded_model)
        assert list(builder(family).build(CONVERSATION, SYSTEM, 8).ids) == ids_of_template(
            family, CONVERSATION, SYSTEM
        )
        assert builder(family).end_of_turn_ids() == {2}


class TestControlTokens:
    HARMLESS = "harmless"

    @pytest.mark.parametrize("family", [*FAMILIES, *BASE_MODELS])
    def test_that_people_type_stay_text(self, family: Family):
        prompts = builder(family)
        control = control_tokens(family.tokenizer)
        expected = self.count(control, self.ids_with(prompts, self.HARMLESS))
        for token in [*control, "<unk>", "".join(control), " ".join(control)]:
            ids = self.ids_with(prompts, token)
            assert self.count(control, ids) == expected, token
            assert decode(family.tokenizer, ids).count(f"before {token} after") == 3

    def test_that_people_type_stay_text_for_the_real_model(self, embedded_model: Path):
        self.test_that_people_type_stay_text(real_family(embedded_model))

    @pytest.mark.parametrize("family", FAMILIES)
    def test_are_not_made_of_the_template_and_what_people_type_together(self, family: Family):
        prompts = builder(family)
        control = control_tokens(family.tokenizer)
        expected = self.count(control, prompts.build([Message("user", self.HARMLESS)], "", 8).ids)
        for token in control:
            for cut in range(1, len(token)):
                ids = prompts.build([Message("user", token[:cut]), Message("user", token[cut:])], "", 8).ids
                assert self.count(control, ids) == expected, token

    @staticmethod
    def ids_with(prompts: PromptBuilder, word: str) -> tuple[int, ...]:
        content = f"before {word} after"
        messages = [Message("user", "Hi"), Message("assistant", content), Message("user", content)]
        return prompts.build(messages, content, max_new_tokens=8).ids

    @staticmethod
    def count(control: dict[str, int], ids: Sequence[int]) -> dict[str, int]:
        return {token: ids.count(token_id) for token, token_id in control.items()}


EXACT_TEXTS = {
    "tabs": "\tif x:\n\t\treturn\t1",
    "code": "def f():\n\tif True:\n\t\treturn {\n\t\t\t'a':  1,\n\t\t}\n",
    "spaces around": "   three before and after   ",
    "blank lines around": "\n\n\nthree before and after\n\n\n",
    "runs of spaces": "a  b   c    d         e",
    "NUL": "a\0b",
    "bidi marks": "\u202eabc\u202c \u2067אבג\u2069",
    "line separator": "a\u2028b\u2029c\u0085d",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "combining marks": "e\u0301 a\u0308 ก\u0e49 각",
    "Hangul in parts": unicodedata.normalize("NFD", "한국"),
    "carriage returns": "a\r\nb\rc",
    "placeholder": "content0123456789abcdef01234567end",
    "template words": "{{ bos_token }} {% for x in y %} [INST] <<SYS>>",
    "byte tokens": "<0x0A> <0xE2><0x82>",
    "a long line": "0123456789 가나다라 " * 625,
}

EXACT_CASES = [
    pytest.param(*family.values, text, id=f"{family.id}-{name}")
    for family in (*FAMILIES, *BASE_MODELS)
    for name, text in EXACT_TEXTS.items()
    # Unigram reads the name of a byte as that byte, with or without hfdemo.
    if (family.id, name) != ("Unigram", "byte tokens")
]


class TestContent:
    @pytest.mark.parametrize(("family", "text"), EXACT_CASES)
    def test_reaches_the_model_exactly(self, family: Family, text: str):
        messages = [Message("user", text), Message("assistant", f"Re: {text}"), Message("user", text)]
        decoded = decode(family.tokenizer, builder(family).build(messages, f"System: {text}", 8).ids)
        expected = unicodedata.normalize("NFC", text) if family.composes else text
        assert decoded.count(expected) == 4

    @given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), min_size=1))
    @settings(deadline=None, max_examples=60)
    def test_of_any_characters_reaches_the_model_exactly(self, text: str):
        for family in all_families():
            expected = unicodedata.normalize("NFC", text) if family.composes else text
            ids = builders()[family.name].build([Message("user", f"[{text}]")], "", 8).ids
            assert f"[{expected}]" in decode(family.tokenizer, ids)


class TestNormalise:
    def test_leaves_a_plain_conversation_as_it_is(self):
        assert normalise(CONVERSATION) == CONVERSATION

    def test_drops_empty_turns_and_joins_their_neighbours(self):
        messages = [Message("user", "one"), Message("assistant", " \n"), Message("user", "two")]
        assert normalise(messages) == [Message("user", "one\n\ntwo")]

    def test_joins_neighbours_of_one_role(self):
        messages = [
            Message("user", "one"),
            Message("assistant", "two"),
            Message("assistant", " three"),
            Message("user", "four"),
        ]
        assert normalise(messages) == [
            Message("user", "one"),
            Message("assistant", "two\n\n three"),
            Message("user", "four"),
        ]

    def test_starts_and_ends_with_the_user(self):
        messages = [Message("assistant", "Hi"), Message("user", "one"), Message("assistant", "two")]
        assert normalise(messages) == [Message("user", "one")]

    def test_of_nothing_is_nothing(self):
        assert normalise([]) == []
        assert normalise([Message("user", " "), Message("assistant", "Hi")]) == []

    @given(conversations(st.sampled_from(["", " ", "a", "b\n"])))
    def test_always_gives_turns_a_template_can_take(self, messages: list[Message]):
        turns = normalise(messages)
        assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2) + ["user"]
        assert all(turn.content.strip() for turn in turns)
        kept = "".join(turn.content.replace("\n\n", "") for turn in turns)
        first = next(
            index for index, message in enumerate(messages) if message.role == "user" and message.content.strip()
        )
        assert kept == "".join(message.content for message in messages[first:] if message.content.strip())

    @pytest.mark.parametrize("messages", [[], [Message("user", " \n")], [Message("assistant", "Hello")]])
    @pytest.mark.parametrize("family", [*FAMILIES, *BASE_MODELS])
    def test_that_leaves_nothing_to_answer_is_refused(self, family: Family, messages: list[Message]):
        with pytest.raises(InvalidInput) as refusal:
            builder(family).build(messages, SYSTEM, max_new_tokens=8)
        assert refusal.value.key == "empty_message"


class TestFitting:
    @given(
        family=st.sampled_from([*all_families(), *base_models()]),
        messages=conversations(st.sampled_from(["Hi", "안녕하세요", "Tell me a story.\n", "a " * 40, ""])),
        system_prompt=st.sampled_from(["", "Be kind."]),
        limit=st.integers(min_value=1, max_value=400),
        max_new_tokens=st.integers(min_value=1, max_value=64),
    )
    @settings(deadline=None, max_examples=300)
    def test_drops_the_oldest_turns_and_as_few_as_it_can(self, family, messages, system_prompt, limit, max_new_tokens):
        turns = normalise(messages)
        free = builders()[family.name]
        prompts_by_start = {
            start: free.build(turns[start:], system_prompt, 1).ids for start in range(0, len(turns), 2)
        }
        fitting = [start for start, ids in prompts_by_start.items() if len(ids) + max_new_tokens <= limit]
        fitted = PromptBuilder(family.tokenizer, limit)
        if not fitting:
            with pytest.raises(InvalidInput) as refusal:
                fitted.build(messages, system_prompt, max_new_tokens)
            assert refusal.value.key == "too_many_tokens"
            assert refusal.value.fields["tokens"] == str(len(prompts_by_start[len(turns) - 1]))
            return
        prompt = fitted.build(messages, system_prompt, max_new_tokens)
        assert prompt.dropped == fitting[0]
        assert prompt.ids == prompts_by_start[fitting[0]]
        decoded = decode(family.tokenizer, prompt.ids)
        assert system_prompt in decoded
        assert turns[-1].content in decoded

    def test_fills_the_context_to_the_last_token(self):
        family = all_families()[0]
        needed = len(builder(family).build(CONVERSATION, SYSTEM, 1).ids)
        assert PromptBuilder(family.tokenizer, needed + 10).build(CONVERSATION, SYSTEM, 10).dropped == 0
        assert PromptBuilder(family.tokenizer, needed + 9).build(CONVERSATION, SYSTEM, 10).dropped == 2

    def test_of_a_very_long_chat_renders_it_a_few_times_only(self):
        renders = 0
        family = next(family for family in all_families() if family.name == "SmolLM2")
        prompts = PromptBuilder(family.tokenizer, context_limit=200)
        render = prompts._render

        def counting(*arguments: Any, **options: Any) -> str:
            nonlocal renders
            renders += 1
            return render(*arguments, **options)

        prompts._render = counting  # type: ignore[method-assign]
        messages = [Message("assistant" if index % 2 else "user", f"message {index}") for index in range(2001)]
        prompt = prompts.build(messages, SYSTEM, max_new_tokens=10)
        assert 0 < prompt.dropped < 2000
        assert renders <= 15


class TestBaseModels:
    PLAIN = (
        "System: Be kind.\nUser: What is the capital?\nAssistant: Seoul, I think.\nUser: And the story?\nAssistant:"
    )
    MESSAGES = (
        Message("user", "What is the capital?"),
        Message("assistant", "Seoul, I think."),
        Message("user", "And the story?"),
    )

    @pytest.mark.parametrize("family", BASE_MODELS)
    def test_read_a_plain_dialogue_opened_as_the_tokenizer_opens_texts(self, family: Family):
        assert list(builder(family).build(self.MESSAGES, "Be kind.", 8).ids) == family.tokenizer(self.PLAIN).input_ids

    @pytest.mark.parametrize("family", BASE_MODELS)
    def test_read_no_system_line_without_a_system_prompt(self, family: Family):
        expected = family.tokenizer("User: Hi\nAssistant:").input_ids
        assert list(builder(family).build([Message("user", "Hi")], "", 8).ids) == expected

    def test_are_opened_by_their_control_token_once(self):
        gpt2, llama3, llama2, mistral = (builder(family).build(self.MESSAGES, "", 8).ids for family in base_models())
        assert gpt2[0] not in base_models()[0].tokenizer.all_special_ids
        for ids, family in zip((llama3, llama2, mistral), base_models()[1:], strict=True):
            assert ids[0] == family.tokenizer.bos_token_id
            assert ids.count(family.tokenizer.bos_token_id) == 1


@cache
def builders() -> dict[str, PromptBuilder]:
    """Return one builder without a limit for each family."""
    return {family.name: builder(family) for family in [*all_families(), *base_models()]}


def real_family(folder: Path) -> Family:
    return Family("SmolLM2-135M-Instruct", AutoTokenizer.from_pretrained(folder), end_of_turn="<|im_end|>")
