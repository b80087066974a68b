"""Every sentence exists in each language, with the same gaps, and no sentence is left over."""

import ast
import string
from typing import get_args, get_type_hints

import pytest

from hfdemo import errors
from hfdemo.arguments import COMPLAINTS
from hfdemo.chat.options import OPTION_NAMES, THINKING
from hfdemo.chat.reply import FinishReason
from hfdemo.commands.cpu import QUESTIONS, WAYS
from hfdemo.door.door import OTHER_WORDS
from hfdemo.engines.protocol import Status
from hfdemo.models.explain import GATES
from hfdemo.models.plan import QuantizedBits, Speed, Way
from hfdemo.page.language import label, translations
from hfdemo.page.page import SCRIPT_WORDS
from hfdemo.page.starters import STARTERS, starter_cards
from hfdemo.publish.life import FAILED, RESTING, RUNNING, WORKING
from hfdemo.settings import Platform
from hfdemo.web.bodies import TOO_LARGE, TOO_SLOW
from hfdemo.web.sign_in import FORM_WORDS
from hfdemo.words import LANGUAGES, as_language, choose_language, say, texts
from tests.conftest import ROOT

ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}

PREFIXES = {
    "say": "",
    "refusal": "refused.",
    "Refused": "refused.",
    "make_note": "note.",
    "label": "page.",
    "_words": "publish.",
    "_tell": "publish.",
    "phrase": "",
}
"""What asks for texts, and how the names begin of those it asks for."""


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def calls() -> list[tuple[str, set[str], bool]]:
    """Return each text the code asks for by its name, with the facts it brings; whether these are all it brings."""
    found = []
    for path in [ROOT / "app.py", *sorted((ROOT / "hfdemo").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            prefix = PREFIXES.get(name, "error." if name in ERRORS else None)
            key = node.args[-1] if name == "_tell" else node.args[0]
            if prefix is None or isinstance(key, ast.JoinedStr):
                continue
            facts = {keyword.arg for keyword in node.keywords}
            for part in ast.walk(key):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found.append((prefix + part.value, facts - {None}, None not in facts))
    return found


def computed_keys() -> set[str]:
    """Return the texts whose names the code puts together."""
    stages = get_args(get_type_hints(Status)["stage"])
    facts = [
        "prompt_tokens",
        "cached_tokens",
        "new_tokens",
        "first_token",
        "speed",
        "dropped",
        "seed",
        "model",
        "device",
    ]
    places = ("local", "colab", "space")
    plan = ("parameters", "memory", "plan", "download", "disk", "disk_enough", "disk_too_small", "speed", "instead")
    notebook = ("machine", "no_gpu", "not_ready", "rule", "link", "no_link", "stopped", "ended")
    return {
        *(f"colab.{key}" for key in notebook),
        *(f"page.{key}" for key in SCRIPT_WORDS),
        *(
            f"advice.{topic}_{place}"
            for topic in ("set_token", "new_token", "other_token", "disk")
            for place in places
        ),
        *("advice.new_token_variable", "advice.other_token_variable", "advice.publish_asks"),
        *(f"advice.{template}" for template in ("other_template", "no_template")),
        *(
            "advice.hides_hub",
            "advice.name_inner",
            "advice.name_the_folder",
            "advice.demo_instead",
            "advice.demo_instead_offline",
            "advice.name_the_gguf",
            "advice.name_without_tag",
        ),
        *(f"advice.gpu_{more}" for more in ("sign_in", "pro", "credits")),
        *("doctor.template", "doctor.no_template"),
        *(f"doctor.platform_{place}" for place in get_args(Platform)),
        *(f"doctor.faster_{question}" for question in QUESTIONS),
        *(f"doctor.way_{way}" for way in WAYS),
        *(f"error.{key}" for key in GATES.values()),
        *(f"program.{key}" for key in OTHER_WORDS),
        *(f"arguments.{key}" for key in COMPLAINTS),
        *(f"fit.{label}" for label in plan),
        *(f"fit.way_{way}" for way in get_args(Way)),
        *(f"fit.in_{bits}" for bits in get_args(QuantizedBits)),
        *(f"fit.speed_{speed}" for speed in get_args(Speed)),
        *(f"receipt.{name}" for name in [*get_args(FinishReason), "only_thought", *facts]),
        *(f"page.thinking_{mode}" for mode in THINKING),
        *(f"status.{stage}" for stage in stages),
        *(f"publish.stage_{stage.lower()}" for stage in (RUNNING, *WORKING, *FAILED, *RESTING)),
        *(f"page.{name}{kind}" for name in [*OPTION_NAMES, "reply_start", "stop_texts"] for kind in ("", "_info")),
        *(f"sign_in.{part}" for part in FORM_WORDS),
        *("refused.hub_sign_in_failed", "refused.not_on_the_list", "refused.wrong_password"),
        *(f"refused.{key}" for key, _ in (TOO_LARGE, TOO_SLOW)),
        *("refused.foreign_host", "refused.foreign_origin"),
        *(f"starter.{starter.name}.{part}" for starter in STARTERS for part in ("title", "message", "system")),
    }


def test_there_are_two_languages():
    assert LANGUAGES == ("en", "ko")


def test_all_languages_have_the_same_texts():
    assert list(texts("en")) == list(texts("ko"))


@pytest.mark.parametrize("key", sorted(texts("en")))
def test_a_text_has_the_same_gaps_in_each_language_and_is_not_empty(key):
    english, korean = texts("en")[key], texts("ko")[key]
    assert gaps(english) == gaps(korean)
    assert english.strip() and korean.strip()


def test_every_text_the_code_asks_for_exists():
    wanted = {key for key, _, _ in calls()} | computed_keys()
    assert wanted <= set(texts("en")), wanted - set(texts("en"))


def test_every_text_is_asked_for():
    asked = {key for key, _, _ in calls()} | computed_keys()
    assert set(texts("en")) == asked, set(texts("en")) - asked


def test_whoever_asks_for_a_text_brings_what_fills_its_gaps():
    assert len(calls()) > 40
    missing = {key: gaps(texts("en")[key]) - facts for key, facts, all_known in calls() if all_known}
    assert {key: names for key, names in missing.items() if names} == {}


def test_a_path_of_windows_is_said_as_it_was_typed_and_control_characters_are_seen():
    assert r"'C:\models\x'" in say("error.no_such_model_path", model=r"C:\models\x")
    assert r"'a\nb'" in say("error.no_such_model_path", model="a\nb")


def test_gaps_are_filled():
    assert say("status.ahead", "en", ahead=2) == "2 ahead of you …"
    assert say("status.ahead", "ko", ahead=2) == "앞에 2명이 기다리고 있습니다 …"
    assert say("status.ahead", ahead=2) == say("status.ahead", "en", ahead=2)


@pytest.mark.parametrize(
    ("preferences", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("ko", "ko"),
        ("KO-KR", "ko"),
        ("ko_KR.UTF-8", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("en;q=0.1, ko;q=0.9", "ko"),
        ("ko;q=0.5,en;q=0.5", "ko"),
        ("fr-FR, ja;q=0.9, ko;q=0.1", "ko"),
        ("fr-FR,de;q=0.5", "en"),
        ("ko;q=0", "en"),
        ("ko;q=0,en", "en"),
        ("kok-IN,en;q=0.5", "en"),
        ("kok", "en"),
        ("enm, ko;q=0.2", "ko"),
        ("fr;x=ko", "en"),
        (",;q=,ko;q=oops", "ko"),
        ("\u0000\uffff", "en"),
    ],
)
def test_the_language_that_is_preferred_is_chosen(preferences, language):
    assert choose_language(preferences) == language


@pytest.mark.parametrize(
    ("value", "language"),
    [("en", "en"), ("ko", "ko"), ("KO", "en"), ("fr", "en"), (None, "en"), (5, "en"), (["ko"], "en"), ({}, "en")],
)
def test_only_a_language_the_page_speaks_is_taken(value, language):
    assert as_language(value) == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_label_of_the_page_is_translated(language):
    translated = translations().translations[language]
    assert translated[label("settings").key] == texts(language)["page.settings"]
    assert translated["chat_interface.message_placeholder"] == texts(language)["page.placeholder"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_starter_is_a_card(language):
    assert starter_cards(language) == [
        {"text": texts(language)[f"starter.{name}.message"], "display_text": texts(language)[f"starter.{name}.title"]}
        for name in ("travel", "bank", "medical", "shopping", "tutor")
    ]
