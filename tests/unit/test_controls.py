"""What a visitor or a program leaves out is left to the model; what is chosen counts as it is."""

import pytest

from hfdemo.chat.options import LIMITS, OPTION_NAMES, RECOMMENDED, Options
from hfdemo.errors import InvalidInput
from hfdemo.page.controls import info_text, make_controls, read_page_options

MODEL = {"temperature": 0.6, "top_k": 20}


def values(**numbers: object) -> list[object]:
    """Return what an event is handed, in the order of the API."""
    given = {name: numbers.get(name, LIMITS[name].default) for name in OPTION_NAMES}
    first = ["temperature", "top_p", "max_new_tokens", "top_k", "repetition_penalty", "seed"]
    return ["Be kind.", *(given[name] for name in first), "END", "Well", "auto", given["min_p"]]


def test_a_call_that_chooses_all_leaves_out_nothing():
    read = read_page_options(values(temperature=0.6, min_p=0.1))
    assert (read.system_prompt, read.reply_start) == ("Be kind.", "Well")
    assert read.options == Options(temperature=0.6, min_p=0.1, stop_texts=("END",))


def test_null_leaves_a_value_out_where_a_model_may_recommend_one():
    read = read_page_options(values(**dict.fromkeys(RECOMMENDED)))
    assert read.options == Options(stop_texts=("END",), left_out=RECOMMENDED)
    for name in set(OPTION_NAMES) - set(RECOMMENDED):
        with pytest.raises(InvalidInput, match=name):
            read_page_options(values(**{name: None}))


def test_a_page_leaves_out_what_stands_as_it_was_shown():
    read = read_page_options(values(temperature=0.6, top_k=50, top_p=0.5), MODEL)
    assert read.options == Options(
        temperature=0.7,
        top_k=50,
        top_p=0.5,
        stop_texts=("END",),
        left_out=("temperature", "repetition_penalty", "min_p"),
    )


@pytest.mark.parametrize("shown", [{"temperature": 5}, {"temperature": "warm"}, {"x": 1}, [], "y", 5, None], ids=repr)
def test_whatever_a_page_says_it_showed_no_bad_value_comes_through(shown):
    asked = values(temperature=5, top_p=0.5, top_k=3, repetition_penalty=1.5, min_p=0.5)
    try:
        options = read_page_options(asked, shown).options
    except InvalidInput as error:
        assert error.fields["name"] == "temperature"
    else:
        assert (options.temperature, options.left_out) == (0.7, ("temperature",))


@pytest.mark.parametrize(("language", "text"), [("en", "(The model's value: 0.6)"), ("ko", "(모델 권장값: 0.6)")])
def test_an_option_says_the_models_value(language, text):
    assert info_text("temperature", MODEL, language).endswith(text)
    assert text not in info_text("top_p", MODEL, language)


def test_newer_options_come_last_for_programs_and_the_page_alike():
    controls = make_controls("")
    names = ["system-prompt", "temperature", "top-p", "max-new-tokens", "top-k", "repetition-penalty", "seed"]
    assert [one.elem_id for one in controls.inputs] == [*names, "stop-texts", "reply-start", "thinking", "min-p"]
    assert [one.elem_id.replace("-", "_") for one in controls.recommended_numbers] == list(RECOMMENDED)
