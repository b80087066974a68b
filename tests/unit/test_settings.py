"""The host's settings are what the environment says, or are refused with the range that is right."""

import dataclasses

import pytest

from hfdemo.errors import SettingsError
from hfdemo.settings import Settings, from_env


def test_an_empty_environment_gives_the_defaults():
    assert from_env({}) == Settings(model=None, system_prompt="", time_limit_s=300, max_waiting=32)


def test_every_setting_is_read_from_its_variable():
    environ = {
        "HFDEMO_MODEL": " org/name ",
        "HFDEMO_SYSTEM_PROMPT": " Be kind.\n",
        "HFDEMO_TIME_LIMIT_S": "60",
        "HFDEMO_MAX_WAITING": " 7 ",
    }
    assert from_env(environ) == Settings("org/name", " Be kind.\n", time_limit_s=60, max_waiting=7)


def test_each_setting_has_a_test_of_its_variable():
    names = [field.name for field in dataclasses.fields(Settings)]
    assert names == ["model", "system_prompt", "time_limit_s", "max_waiting"]


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_blank_values_count_as_unset(blank):
    assert from_env({"HFDEMO_MODEL": blank, "HFDEMO_TIME_LIMIT_S": blank, "HFDEMO_MAX_WAITING": blank}) == Settings()


RANGES = [("HFDEMO_MAX_WAITING", "max_waiting", 1, 1000), ("HFDEMO_TIME_LIMIT_S", "time_limit_s", 1, 86_400)]


@pytest.mark.parametrize(("name", "field", "low", "high"), RANGES)
def test_whole_numbers_up_to_the_ends_of_the_range_are_taken(name, field, low, high):
    for value, number in ((str(low), low), (str(high), high), ("007", 7)):
        assert getattr(from_env({name: value}), field) == number


@pytest.mark.parametrize(("name", "field", "low", "high"), RANGES)
@pytest.mark.parametrize(
    "value", ["0", "-1", "86401", "12.5", "1e2", "nan", "inf", "many", "0x10", "00000000132768", "9" * 5000]
)
def test_other_values_are_refused_and_the_text_names_key_value_and_range(name, field, low, high, value):
    with pytest.raises(SettingsError) as refused:
        from_env({name: value})
    for language in ("en", "ko"):
        text = refused.value.text(language)
        assert all(part in text for part in (name, repr(value), str(low), str(high)))


def test_settings_do_not_change_once_read():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().max_waiting = 5
