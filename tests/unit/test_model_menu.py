"""The model menu: what it offers, what it says of a model, and what the server refuses."""

from dataclasses import replace
from html import unescape

import gradio as gr
import pytest

from hfdemo.answering import Answering
from hfdemo.engines.protocol import Status
from hfdemo.errors import ModelLoadError
from hfdemo.models.choice import ModelChoice
from hfdemo.page.model_menu import offers_models
from hfdemo.page.page import create_page
from hfdemo.settings import Settings
from hfdemo.words import say
from tests.fakes import ScriptedCatalog, ScriptedEngine, ScriptedHost, make_any_plan

LISTED = ("org/here", "org/there", "org/big", "org/unknown")
PUBLIC = Settings(model="org/here", models=LISTED, private=False)
PRIVATE = Settings(model="org/here", models=LISTED)


class Opened:
    """The page of an engine and a catalog; calls what its events call."""

    def __init__(self, settings: Settings) -> None:
        self.engine = ScriptedEngine()
        self.engine.now = Status("ready", model=settings.model or "org/here", device="nowhere")
        self.catalog = ScriptedCatalog(
            ModelChoice("org/here", 1_500_000_000, on_disk=True, fits=True),
            ModelChoice("org/there", 271_000_000, on_disk=True, fits=None),
            ModelChoice("org/big", 141_000_000_000, on_disk=True, fits=False),
            ModelChoice("org/unknown", None, on_disk=False, fits=None),
        )
        self.catalog.plans["org/there"] = make_any_plan("org/there")
        self.catalog.plans["org/big"] = make_any_plan("org/big", 70_000_000_000)
        self.host = ScriptedHost(self.engine)
        self.page = create_page(Answering(self.engine), settings, self.host, catalog=self.catalog)

    def call(self, name, *inputs):
        return next(event.fn for event in self.page.fns.values() if event.name == name)(*inputs)

    def names(self) -> set[str]:
        return {event.name for event in self.page.fns.values()}


@pytest.mark.parametrize(
    ("settings", "offers"),
    [
        (Settings(), True),
        (Settings(private=False), False),
        (Settings(private=False, models=("a",)), False),
        (Settings(private=False, models=("a", "b")), True),
        (Settings(private=False, models=("a", "b"), platform="space"), True),
        (Settings(private=False, models=("a", "b"), platform="zerogpu"), False),
        (Settings(platform="zerogpu"), False),
    ],
)
def test_the_menu_is_there_if_there_is_something_to_choose(settings, offers):
    assert offers_models(settings) is offers
    assert ("_use_model" in Opened(settings).names()) is offers


def test_without_a_catalog_there_is_no_menu():
    engine = ScriptedEngine()
    page = create_page(Answering(engine), Settings(), ScriptedHost(engine))
    assert "_use_model" not in {event.name for event in page.fns.values()}


def test_no_event_of_the_menu_is_part_of_the_api():
    events = Opened(PRIVATE).page.fns.values()
    assert {event.api_name for event in events if event.api_visibility != "private"} == {"chat", "receipt"}


@pytest.mark.parametrize(
    ("language", "labels"),
    [
        (
            "en",
            [
                "org/here · 1.5 GB · in use · nowhere",
                "org/there · 271 MB · on this machine",
                "org/big · 141.0 GB · too big for this machine",
                "org/unknown · not downloaded yet",
            ],
        ),
        (
            "ko",
            [
                "org/here · 1.5 GB · 사용 중 · nowhere",
                "org/there · 271 MB · 이 컴퓨터에 있음",
                "org/big · 141.0 GB · 이 컴퓨터에는 너무 큼",
                "org/unknown · 아직 받지 않음",
            ],
        ),
    ],
)
def test_each_choice_has_its_size_and_its_state(language, labels):
    update = Opened(PUBLIC).call("_refresh", language, None, "org/here")
    assert update["choices"] == list(zip(labels, LISTED, strict=True))
    assert update["value"] == "org/here"


def test_the_menu_follows_the_model_in_use_but_leaves_the_choice_after_a_failure():
    opened = Opened(PUBLIC)
    assert opened.call("_refresh", "en", "org/big", "org/here")["value"] == "org/here"
    opened.engine.now = Status("failed", model="org/here")
    update = opened.call("_refresh", "en", "org/big", "")
    assert "value" not in update
    assert update["choices"][0] == ("org/here · 1.5 GB · fits · on this machine", "org/here")
    assert opened.call("_refresh", "en", None, "")["value"] == "org/here"


def test_a_private_page_lists_the_model_that_is_there_although_the_host_did_not():
    opened = Opened(replace(PRIVATE, model=None, models=()))
    opened.catalog.models = []
    opened.engine.now = Status("ready", model="org/default")
    update = opened.call("_refresh", "en", None, "org/default")
    assert update["choices"] == [("org/default · in use", "org/default")]
    assert update["value"] == "org/default"
    opened.engine.now = replace(opened.engine.now, fallback=ModelLoadError("hub_offline_mode"))
    assert opened.call("_refresh", "en", None, "org/default")["choices"] == []


def test_a_public_page_does_not_list_what_the_host_did_not():
    opened = Opened(replace(PUBLIC, model="org/other"))
    update = opened.call("_refresh", "en", None, "org/other")
    assert [name for _, name in update["choices"]] == list(LISTED)
    assert "value" not in update


def with_local_models(private: bool) -> Opened:
    """Open the page of a host who keeps models in folders."""
    models = ("/srv/secret/small", "/srv/other/small", "~/large", "org/there")
    opened = Opened(Settings(model=models[0], models=models, private=private))
    opened.catalog.models = [ModelChoice(name, 10**9, on_disk=True, fits=True) for name in models]
    opened.engine.now = Status("ready", model="small", named=models[0])
    return opened


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_public_page_shows_the_name_of_a_folder_and_not_where_it_is(language):
    opened = with_local_models(private=False)
    update = opened.call("_refresh", language, None, "small")
    assert [name for _, name in update["choices"]] == ["small", "small (2)", "large", "org/there"]
    assert [label.split(" · ")[0] for label, _ in update["choices"]] == ["small", "small (2)", "large", "org/there"]
    assert [label for label, _ in update["choices"] if say("page.model_in_use", language) in label] == [
        f"small · 1.0 GB · {say('page.model_in_use', language)}"
    ]
    assert update["value"] == "small"
    with pytest.raises(gr.Error) as refusal:
        opened.call("_use_model", language, "/srv/secret/small")
    assert "srv" not in refusal.value.message and "small (2)" in refusal.value.message
    opened.call("_use_model", language, "small (2)")
    assert opened.host.chosen == ["/srv/other/small"]
    assert opened.call("_refresh", language, "small (2)", "small")["value"] == "small (2)"
    opened.engine.now = Status("resolving", model="/srv/secret/small")
    assert "srv" not in str(opened.call("_show", language, "auto", {}))


def test_a_page_for_the_host_alone_takes_paths_and_shows_names_too():
    opened = with_local_models(private=True)
    update = opened.call("_refresh", "en", None, "small")
    assert [name for _, name in update["choices"]] == ["small", "small (2)", "large", "org/there"]
    assert update["value"] == "small"
    opened.call("_use_model", "en", "/srv/typed/model")
    opened.engine.now = replace(
        opened.engine.now, stage="ready", model="model", device="nowhere", plan=make_any_plan("model")
    )
    update = opened.call("_refresh", "en", "/srv/typed/model", "model")
    assert update["choices"][0] == ("model · 1.2 GB · in use · nowhere", "/srv/typed/model")
    assert update["value"] == "/srv/typed/model"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_choice_shows_its_card_and_the_button_if_it_fits(language):
    opened = Opened(PUBLIC)
    card, button = opened.call("_show_model", language, "org/there")
    assert "org/there" in card and "<table" in card and button["visible"] is True
    card, button = opened.call("_show_model", language, "org/big")
    assert say("fit.instead", language) in card and button["visible"] is False
    card, button = opened.call("_show_model", language, "org/unknown")
    assert unescape(card).startswith('<p class="problem">') and 'href="https://hub.test/org/unknown"' in card
    assert button["visible"] is False
    assert opened.call("_show_model", language, None)[0] == ""


def test_the_model_in_use_needs_no_button_and_no_question_to_the_hub():
    opened = Opened(PUBLIC)
    assert opened.call("_show_model", "en", "org/here") == ("", gr.update(visible=False))
    opened.engine.now = replace(opened.engine.now, plan=make_any_plan("org/here"))
    card, button = opened.call("_show_model", "en", "org/here")
    assert card.startswith("<details>") and button["visible"] is False
    assert opened.catalog.planned == []


def test_an_accident_is_told_without_its_text():
    opened = Opened(PUBLIC)
    opened.catalog.plan = lambda name: {}["hf_secret"]
    with pytest.raises(gr.Error) as refusal:
        opened.call("_show_model", "ko", "org/there")
    assert refusal.value.message == say("error.unexpected", "ko")


def test_using_a_model_changes_the_engine_and_is_remembered():
    opened = Opened(PUBLIC)
    button = opened.call("_use_model", "en", "org/there")
    assert opened.host.chosen == ["org/there"]
    assert button["visible"] is False
    choices = opened.call("_refresh", "en", "org/there", "org/there")["choices"]
    assert [label for label, _ in choices if "in use" in label] == ["org/there · 271 MB · in use"]


def test_a_model_that_cant_be_had_is_not_said_to_be_in_use():
    opened = Opened(PUBLIC)
    before = opened.engine.now
    opened.call("_use_model", "en", "org/there")
    opened.engine.now = replace(before, error=ModelLoadError("not_ready"))  # the old one stays
    update = opened.call("_refresh", "en", None, "org/here")
    assert [label for label, _ in update["choices"] if "in use" in label] == ["org/here · 1.5 GB · in use · nowhere"]
    assert update["value"] == "org/here"


@pytest.mark.parametrize("name", ["org/other", "/etc", "", None, 5, ["org/there"], {"a": 1}])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_public_page_refuses_what_it_does_not_offer(name, language):
    opened = Opened(PUBLIC)
    with pytest.raises(gr.Error) as refusal:
        opened.call("_use_model", language, name)
    assert refusal.value.message == say("error.model_not_offered", language, models=", ".join(LISTED))
    assert "<table" not in opened.call("_show_model", language, name)[0]
    assert opened.host.chosen == opened.catalog.planned == []


@pytest.mark.parametrize("name", ["org/other", "org/other@main", "/a folder/model", "~/a.gguf"])
def test_a_private_page_takes_any_name(name):
    opened = Opened(PRIVATE)
    opened.call("_use_model", "en", f" {name}\n")
    assert opened.host.chosen == [name]
    opened.call("_show_model", "en", "org/\ud800")
    assert opened.catalog.planned == ["org/\ufffd"]
    for nothing in ("  ", None, 5):
        with pytest.raises(gr.Error) as refusal:
            opened.call("_use_model", "en", nothing)
        assert refusal.value.message == say("error.no_model_name", "en")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_search_fills_the_menu(language):
    opened = Opened(PRIVATE)
    opened.catalog.found = [ModelChoice("org/found", 10**9, on_disk=False, fits=True)]
    menu, note = opened.call("_find", language, " tiny ")
    state = say("page.model_not_downloaded", language)
    assert menu["choices"] == [(f"org/found · 1.0 GB · {say('page.model_fits', language)} · {state}", "org/found")]
    assert note == say("page.found", language, count=1)
    opened.catalog.found = []
    menu, note = opened.call("_find", language, "nothing")
    assert (menu["choices"], note) == ([], say("page.found_nothing", language))
    menu, note = opened.call("_find", language, " ")
    assert ([name for _, name in menu["choices"]], note) == (list(LISTED), "")
    assert opened.catalog.searched == ["tiny", "nothing"]
    opened.catalog.found = ModelLoadError("hub_offline_mode")
    with pytest.raises(gr.Error) as refusal:
        opened.call("_find", language, "tiny")
    assert refusal.value.message == say("error.hub_offline_mode", language)


def test_only_a_private_page_searches_and_cancels():
    assert {"_find", "cancel"} <= Opened(PRIVATE).names()
    assert {"_find", "cancel"}.isdisjoint(Opened(PUBLIC).names())


@pytest.mark.parametrize("settings", [PRIVATE, PUBLIC])
@pytest.mark.parametrize("stage", ["resolving", "checking", "downloading", "loading", "ready", "cancelled", "failed"])
def test_the_buttons_are_there_when_they_are_of_use(stage, settings):
    opened = Opened(settings)
    opened.engine.now = Status(stage, model="m")
    line, card, cancel, try_again, timer, _, in_use, *_ = opened.call("_show", "en", "auto", {})
    assert cancel["visible"] is (settings.private and stage in ("checking", "downloading", "loading"))
    assert try_again["visible"] is (stage in ("cancelled", "failed"))
    assert timer["value"] == (3 if stage in ("ready", "cancelled", "failed") else 0.5)
    assert in_use == ("" if stage in ("cancelled", "failed") else "m")
    assert opened.call("_show_changes", "en", "auto", {}, line, card) == gr.skip()
    assert opened.call("_show_changes", "en", "auto", {}, "", None)[0] == line


def test_a_thinking_mode_of_the_model_before_is_not_sent_to_the_next():
    opened = Opened(PRIVATE)
    chat = next(event.fn for event in opened.page.fns.values() if event.name == "_stop").__self__
    values = ["", 0.7, 0.9, 512, 50, 1, -1, "", "", "high", 0, {}]
    for modes, sent in (((), "auto"), (("off", "on"), "auto"), (("low", "high"), "high")):
        opened.engine.now = Status("ready", model="m", thinking_modes=modes)
        assert chat._read_options(values).options.thinking == sent
        shown = opened.call("_show", "en", "high", {})[5]
        assert shown.get("value", "high") == sent
        assert [mode for _, mode in shown["choices"]] == ["auto", *modes]
