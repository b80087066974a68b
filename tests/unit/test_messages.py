"""Whatever a visitor sends becomes a value in its range, or a short text that names the value and the range."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfdemo.chat.messages import (
    MAX_MESSAGE_CHARS,
    read_message,
    read_reply_start,
    read_system_prompt,
    replace_surrogates,
)
from hfdemo.chat.options import (
    LIMITS,
    MAX_STOP_TEXT_CHARS,
    MAX_STOP_TEXTS,
    OPTION_NAMES,
    RECOMMENDED,
    THINKING,
    Limit,
    Options,
    defaults,
    read_options,
)
from hfdemo.errors import InvalidInput

READERS = [(read_message, "message"), (read_system_prompt, "system_prompt"), (read_reply_start, "reply_start")]
WHOLE = [name for name in OPTION_NAMES if LIMITS[name].whole]
NOT_NUMBERS = [True, False, None, "", "0.5", "1", [], [0.5], {}, {"value": 1}, b"1", 1j]
OUT_OF_ANY_RANGE = [math.nan, math.inf, -math.inf, 10**400, -(10**400), 1e308, -1e308]


def read(name: str, value: object) -> object:
    """Return what one option becomes, the others being at their defaults."""
    values = [value if option == name else LIMITS[option].default for option in OPTION_NAMES]
    return getattr(read_options(*values), name)


def refusal(name: str, value: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        read(name, value)
    return refused.value


def plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def test_options_and_limits_have_the_same_names_and_defaults():
    assert list(LIMITS) == list(OPTION_NAMES)
    assert read_options(*(LIMITS[name].default for name in OPTION_NAMES)) == Options()


def test_the_api_takes_its_options_in_the_order_that_is_promised():
    assert OPTION_NAMES[:3] == ("temperature", "top_p", "max_new_tokens")


def test_the_limits_are_these():
    assert {name: (limit.low, limit.high, limit.spacing, limit.default) for name, limit in LIMITS.items()} == {
        "temperature": (0, 2, 0.05, 0.7),
        "top_p": (0, 1, 0.01, 0.9),
        "max_new_tokens": (1, 4096, 1, 512),
        "top_k": (0, 1000, 1, 50),
        "repetition_penalty": (0.5, 2, 0.05, 1),
        "seed": (-1, 4294967295, 1, -1),
        "min_p": (0, 1, 0.01, 0),
    }


def test_what_was_left_out_has_the_default_until_a_model_recommends_another():
    values = {name: LIMITS[name].default for name in OPTION_NAMES} | {"top_p": None, "temperature": "x"}
    options = read_options(*values.values(), left_out=["top_p", "temperature"])
    assert (options.temperature, options.top_p, options.left_out) == (0.7, 0.9, ("top_p", "temperature"))
    assert options.with_recommended({"top_p": 0.5, "top_k": 3}) == Options(top_p=0.5)
    assert options.with_recommended({}) == Options()


def test_a_models_values_stand_in_for_our_defaults():
    assert defaults({}) == {name: LIMITS[name].default for name in RECOMMENDED}
    assert defaults({"temperature": 0.2, "seed": 5}) == defaults({}) | {"temperature": 0.2}


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_both_ends_of_a_range_are_in_it(name):
    limit = LIMITS[name]
    assert (read(name, limit.low), read(name, limit.high)) == (limit.low, limit.high)


@pytest.mark.parametrize("name", OPTION_NAMES)
@pytest.mark.parametrize("end", ["low", "high"])
def test_a_value_just_outside_is_refused(name, end):
    limit = LIMITS[name]
    outside = limit.low - limit.spacing if end == "low" else limit.high + limit.spacing
    assert refusal(name, outside).key == "bad_number"


@pytest.mark.parametrize("name", OPTION_NAMES)
@pytest.mark.parametrize("value", NOT_NUMBERS + OUT_OF_ANY_RANGE, ids=lambda value: repr(value)[:20])
def test_a_value_that_is_no_number_in_range_is_refused_with_value_and_range(name, value):
    error = refusal(name, value)
    assert error.key == "bad_number"
    for language in ("en", "ko"):
        text = error.text(language)
        assert len(text) < 200
        assert name in text
        assert plain(LIMITS[name].low) in text and plain(LIMITS[name].high) in text
        assert error.fields["value"] in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (True, "true"),
        (None, "null"),
        ("warm", '"warm"'),
        ([1, "a"], '[1, "a"]'),
        (10**400, "10^400"),
        (-(10**400), "-10^400"),
        (12345678901234567890, "12345678901234567890"),
        ("x" * 100, '"' + "x" * 39 + "…"),
        ("가" * 100, '"' + "가" * 39 + "…"),
        ("\ud800", '"\ufffd"'),
        ([10**5000], "list"),
        ({(1, 2): 3}, "dict"),
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, list) else "list",
)
def test_a_refused_value_is_shown_short_and_as_json_has_it(value, shown):
    assert refusal("temperature", value).fields["value"] == shown


def test_a_list_nested_too_deeply_to_show_is_refused_all_the_same():
    value: list = []
    for _ in range(100_000):
        value = [value]
    assert refusal("temperature", value).fields["value"] == "list"


def test_a_token_sent_as_a_value_is_not_shown():
    assert "abcdefgh" not in refusal("top_p", "hf_abcdefghijklmnop").text("en")


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_number_may_come_as_a_float(name):
    value = read(name, 12.0)
    assert (value, type(value)) == (12, int)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [12.5, 12.000001])
def test_a_fraction_where_a_whole_number_is_meant_is_refused(name, value):
    error = refusal(name, value)
    assert error.key == "not_whole"
    assert str(value) in error.text("en") and plain(LIMITS[name].high) in error.text("ko")


@pytest.mark.parametrize("name", [name for name in OPTION_NAMES if name not in WHOLE])
def test_a_fraction_is_always_a_float(name):
    value = read(name, 1)
    assert (value, type(value)) == (1.0, float)


def test_the_largest_seed_is_exact():
    assert read("seed", 2**32 - 1) == 4294967295
    assert refusal("seed", 2**32).fields["high"] == "4294967295"


@given(
    st.sampled_from(OPTION_NAMES),
    st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text(), st.lists(st.integers())),
)
def test_any_value_is_read_into_its_range_or_refused(name, value):
    limit = LIMITS[name]
    try:
        number = read(name, value)
    except InvalidInput as error:
        json.dumps(error.text("ko")).encode()
    else:
        assert not isinstance(value, bool)
        assert limit.low <= number <= limit.high
        assert number == value


@pytest.mark.parametrize(("step", "whole"), [(1, True), (1.0, True), (0.05, False)])
def test_the_step_says_whether_only_whole_numbers_are_meant(step, whole):
    assert Limit(0, 10, step, 5).whole is whole


def read_stop_texts(value: object) -> tuple[str, ...]:
    return read_options(*(LIMITS[name].default for name in OPTION_NAMES), stop_texts=value).stop_texts


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("", ()),
        ("\n\n", ()),
        ("User:", ("User:",)),
        ("User:\n\n END \n끝", ("User:", " END ", "끝")),
        ("\\n\\nUser:\n\\t", ("\n\nUser:", "\t")),
        ("a\u2028b", ("a\u2028b",)),
        ([], ()),
        (["a\nb", "", "c"], ("a\nb", "c")),
        ("a\ud800", ("a\ufffd",)),
    ],
)
def test_stop_texts_come_one_on_each_line_or_as_a_list(value, texts):
    assert read_stop_texts(value) == texts


@pytest.mark.parametrize("value", [None, 5, {"a": 1}, ["a", 5], [["a"]], b"a"], ids=repr)
def test_stop_texts_that_are_no_texts_are_refused(value):
    with pytest.raises(InvalidInput) as refused:
        read_stop_texts(value)
    assert refused.value.key == "not_text"


def test_stop_texts_have_a_greatest_number_and_length():
    most = ["x" * MAX_STOP_TEXT_CHARS] * MAX_STOP_TEXTS
    assert read_stop_texts(most) == tuple(most)
    for too_much in ([*most, "x"], ["x" * (MAX_STOP_TEXT_CHARS + 1)]):
        with pytest.raises(InvalidInput) as refused:
            read_stop_texts(too_much)
        assert str(MAX_STOP_TEXTS) in refused.value.text("en")
        assert str(MAX_STOP_TEXT_CHARS) in refused.value.text("ko")


@pytest.mark.parametrize("value", [*THINKING, None, True, "", "AUTO", 1, math.nan, ["on"], 10**400], ids=repr)
def test_thinking_is_one_of_the_words_that_exist(value):
    numbers = [LIMITS[name].default for name in OPTION_NAMES]
    if isinstance(value, str) and value in THINKING:
        assert read_options(*numbers, thinking=value).thinking == value
        return
    with pytest.raises(InvalidInput) as refused:
        read_options(*numbers, thinking=value)
    assert refused.value.key == "not_one_of"
    assert ", ".join(THINKING) in refused.value.text("en")
    assert refused.value.fields["value"] in refused.value.text("ko")


@pytest.mark.parametrize("text", ["Hi", "  두 칸  \n", "\tcode\n    more", "👍🏽", "<b>", "\u2060", "a" * 100_000])
def test_a_message_is_kept_exactly(text):
    assert read_message(text) == text


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_an_empty_message_is_refused(text):
    with pytest.raises(InvalidInput) as refused:
        read_message(text)
    assert refused.value.text("en") == "Write a message first."


@pytest.mark.parametrize("text", ["", " "])
def test_a_system_prompt_and_a_reply_start_may_be_empty(text):
    assert read_system_prompt(text) == read_reply_start(text) == text


@pytest.mark.parametrize(("read_text", "name"), READERS)
@pytest.mark.parametrize("value", [None, 5, math.nan, True, ["Hi"], {"text": "Hi"}, b"Hi"], ids=repr)
def test_what_is_no_text_is_refused(read_text, name, value):
    with pytest.raises(InvalidInput) as refused:
        read_text(value)
    assert refused.value.key == "not_text"
    assert name in refused.value.text("ko") and refused.value.fields["value"] in refused.value.text("en")


@pytest.mark.parametrize(("read_text", "name"), READERS)
def test_a_text_that_is_too_long_is_refused_with_both_numbers(read_text, name):
    assert read_text("x" * MAX_MESSAGE_CHARS) == "x" * MAX_MESSAGE_CHARS
    with pytest.raises(InvalidInput) as refused:
        read_text("x" * (MAX_MESSAGE_CHARS + 1))
    shown = f"{MAX_MESSAGE_CHARS + 1:,} characters long; the limit is {MAX_MESSAGE_CHARS:,}."
    assert refused.value.text("en") == f"{name} is {shown}"


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udc00", "\ufffd"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d", "\ufffd"),
    ],
)
def test_lone_surrogates_are_replaced_and_pairs_joined(text, read_as):
    assert read_message(text) == read_system_prompt(text) == read_reply_start(text) == read_as


@given(st.text(st.characters(codec="utf-8")))
def test_text_without_surrogates_stays_as_it_is(text):
    assert replace_surrogates(text) == text


@given(st.text(st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010)))
def test_any_text_can_be_encoded_afterwards(text):
    replace_surrogates(text).encode()
