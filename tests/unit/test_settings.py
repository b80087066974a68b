"""The host's settings are what the environment says, or are refused with the range that is right."""

import dataclasses
import inspect
import re

import pytest

from hfdemo import settings
from hfdemo.errors import SettingsError
from hfdemo.settings import Settings, from_env, notes_on_variables


def test_an_empty_environment_gives_the_defaults():
    assert from_env({}) == Settings(
        model=None,
        models=(),
        quantize="auto",
        context=None,
        allow_pickle=False,
        idle_unload_s=0,
        system_prompt="",
        time_limit_s=300,
        max_waiting=32,
        password=None,
        platform="local",
        private=True,
    )


def test_every_setting_is_read_from_its_variable():
    environ = {
        "HFDEMO_MODEL": " org/name ",
        "HFDEMO_MODELS": "org/a, org/b@v1\n./c  org/a,",
        "HFDEMO_QUANTIZE": " 4bit ",
        "HFDEMO_SCHEDULING": " Batched ",
        "HFDEMO_CONTEXT": "2048",
        "HFDEMO_CHAT_TEMPLATE": " rag ",
        "HFDEMO_ALLOW_PICKLE": "1",
        "HFDEMO_IDLE_UNLOAD_S": "600",
        "HFDEMO_SYSTEM_PROMPT": " Be kind.\n",
        "HFDEMO_TIME_LIMIT_S": "60",
        "HFDEMO_MAX_WAITING": " 7 ",
        "HFDEMO_MESSAGES_PER_MINUTE": "5",
        "HFDEMO_PASSWORD": " open sesame ",
        "HFDEMO_USERS": "anna:a:b , ben: c",
        "HFDEMO_ALLOWED_HOSTS": "Chat.example.com, .lan",
        "HFDEMO_TRUSTED_PROXIES": "10.0.0.0/8 ::1",
        "HFDEMO_MAX_REQUEST_MB": "16",
        "HFDEMO_METRICS": "On",
    }
    assert from_env(environ) == Settings(
        model="org/name",
        models=("org/a", "org/b@v1", "./c"),
        quantize="4bit",
        scheduling="batched",
        context=2048,
        chat_template="rag",
        allow_pickle=True,
        idle_unload_s=600,
        system_prompt=" Be kind.\n",
        time_limit_s=60,
        max_waiting=7,
        messages_per_minute=5,
        password="open sesame",
        users=(("anna", "a:b"), ("ben", "c")),
        allowed_hosts=("chat.example.com", ".lan"),
        trusted_proxies=("10.0.0.0/8", "::1"),
        private=False,
        max_request_mb=16,
        metrics="on",
    )


@pytest.mark.parametrize(
    ("value", "address", "offered"),
    [("", "127.0.0.1", True), ("", "0.0.0.0", False), ("on", "0.0.0.0", True), ("off", "127.0.0.1", False)],
)
def test_numbers_are_offered_to_this_machine_and_to_others_only_if_asked(value, address, offered):
    assert from_env({"HFDEMO_METRICS": value, "GRADIO_SERVER_NAME": address}).has_metrics == offered


def test_users_of_the_hub_may_sign_in_only_where_that_works():
    space = {"SPACE_ID": "org/space", "OAUTH_CLIENT_ID": "id", "HFDEMO_ALLOWED_USERS": "anna, our-org anna"}
    assert from_env(space).allowed_users == ("anna", "our-org")
    for missing in ("SPACE_ID", "OAUTH_CLIENT_ID"):
        with pytest.raises(SettingsError, match="hf_oauth: true"):
            from_env({name: value for name, value in space.items() if name != missing})


OAUTH = {"SPACE_ID": "org/space", "OAUTH_CLIENT_ID": "id", "OAUTH_SCOPES": "openid profile inference-api"}
PROVIDER = {"HFDEMO_CREDIT": "Visitor", "HFDEMO_MODEL": "org/name:cheapest"}


def test_visitors_pay_only_where_they_can():
    settings = from_env(OAUTH | PROVIDER)
    assert (settings.visitors_pay, settings.signs_in_with_hub) == (True, True)
    assert not from_env({}).signs_in_with_hub and not from_env({"HFDEMO_CREDIT": "host"}).visitors_pay
    for missing in OAUTH:
        with pytest.raises(SettingsError, match=r"hf_oauth_scopes: \[inference-api\]"):
            from_env({name: value for name, value in (OAUTH | PROVIDER).items() if name != missing})
    for elsewhere in ({"HFDEMO_MODEL": "org/name"}, {"HFDEMO_MODEL": ""}, {"HFDEMO_ENDPOINT": "http://host"}):
        with pytest.raises(SettingsError, match="needs a model that runs at an inference provider"):
            from_env(OAUTH | PROVIDER | elsewhere)


RENAMED = {
    "en": "HFDEMO_ENGINE is now called HFDEMO_SCHEDULING. The old name still works; please use the new one.",
    "ko": "HFDEMO_ENGINE의 이름이 HFDEMO_SCHEDULING으로 바뀌었습니다. 예전 이름도 아직 쓸 수 있지만 새 이름을 쓰세요.",
}


@pytest.mark.parametrize("language", RENAMED)
def test_the_old_name_of_the_scheduling_works_and_the_new_one_is_named(language, caplog):
    environ = {"HFDEMO_ENGINE": "batched"}
    assert from_env(environ).scheduling == "batched"
    assert caplog.records == [], "whoever starts the program says it, once"
    assert notes_on_variables(environ, language) == [RENAMED[language]]


def test_the_new_name_of_the_scheduling_wins():
    both = {"HFDEMO_ENGINE": "batched", "HFDEMO_SCHEDULING": "single"}
    assert from_env(both).scheduling == "single"
    assert notes_on_variables(both, "en") == [RENAMED["en"]]


@pytest.mark.parametrize("environ", [{}, {"HFDEMO_ENGINE": " "}, {"HFDEMO_SCHEDULING": "single"}])
def test_nothing_is_noted_where_the_old_name_is_not_used(environ):
    assert notes_on_variables(environ, "en") == []


@pytest.mark.parametrize("name", ["HFDEMO_SCHEDULING", "HFDEMO_ENGINE"])
def test_a_wrong_scheduling_is_refused_by_the_name_that_was_used(name):
    with pytest.raises(SettingsError, match=f"{name} must be one of auto, single, batched"):
        from_env({name: "both"})


def test_a_mistyped_variable_is_named_with_the_nearest_that_there_is():
    typed = {"HFDEMO_MODLE": "secret", "PATH": "/bin", "HFDEMO_MODEL": "a/b", "hfdemo_title": "x", "HFDEMO_ZZZ": "y"}
    assert notes_on_variables(typed, "en") == [
        "HFDEMO_MODLE is not a setting of hfdemo, so it has no effect. Did you mean HFDEMO_MODEL?",
        "hfdemo_title is not a setting of hfdemo, so it has no effect. Did you mean HFDEMO_TITLE?",
        "HFDEMO_ZZZ is not a setting of hfdemo, so it has no effect. docs/settings.en.md lists the settings.",
    ]
    assert "HFDEMO_MODEL을" in notes_on_variables(typed, "ko")[0]


def test_no_variable_that_is_read_is_called_mistyped():
    read = set(re.findall(r'"(HFDEMO_[A-Z_]+)"', inspect.getsource(settings)))
    assert {"HFDEMO_MODEL", "HFDEMO_PRIVATE", "HFDEMO_ENGINE"} <= read
    assert notes_on_variables(dict.fromkeys(read, "?"), "en") == [RENAMED["en"]]


def test_the_password_is_not_shown_with_the_settings():
    assert "sesame" not in repr(from_env({"HFDEMO_PASSWORD": "open sesame"}))


@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_of_a_file_of_variables_belong_to_no_name_and_no_key(quote):
    key, other = "key-0123456789abcdef", "other-0123456789abcdef"
    for written in (f"{quote}a:{key},b:{other}{quote}", f" {quote}a:{key}{quote}, {quote}b:{other}{quote} "):
        assert from_env({"HFDEMO_API_KEYS": written}).api_keys == (("a", key), ("b", other))
    assert from_env({"HFDEMO_USERS": f"anna:{quote}it's{quote}x"}).users == (("anna", f"{quote}it's{quote}x"),)


@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_of_a_file_of_variables_belong_to_no_text_either(quote):
    quoted = {
        "HFDEMO_MODEL": "org/a:groq",
        "HFDEMO_PASSWORD": "open sesame",
        "HFDEMO_TITLE": "My chat",
        "HFDEMO_SYSTEM_PROMPT": " Be kind.\n",
    }
    settings = from_env({name: f"{quote}{value}{quote}" for name, value in quoted.items()})
    assert (settings.model, settings.is_remote) == ("org/a:groq", True)
    assert (settings.password, settings.title) == ("open sesame", "My chat")
    assert settings.system_prompt == " Be kind.\n"
    for models in (f"{quote}org/a,org/b{quote}", f"{quote}org/a{quote}, {quote}org/b{quote} {quote}{quote}"):
        assert from_env({"HFDEMO_MODELS": models}).models == ("org/a", "org/b")


@pytest.mark.parametrize("prompt", ['"Yes" or "no"', '"Yes" is enough.', ' "Yes', "'", "Say 'yes'"])
def test_a_text_with_quotes_within_keeps_them(prompt):
    assert from_env({"HFDEMO_SYSTEM_PROMPT": prompt}).system_prompt == prompt


def test_the_users_are_those_with_a_password_of_their_own_and_the_one_of_the_page():
    settings = from_env({"HFDEMO_USERS": "anna:secret,", "HFDEMO_PASSWORD": "open sesame"})
    assert settings.accounts == {"hfdemo": "open sesame", "anna": "secret"}
    assert "secret" not in repr(settings)
    assert from_env({}).accounts == {}


@pytest.mark.parametrize("value", ["anna", "anna:", ":hush", "anna:hush, ben", ": ,", "anna:hush, anna:b"])
def test_users_without_name_or_password_or_named_twice_are_refused_without_telling_it(value):
    with pytest.raises(SettingsError, match="HFDEMO_USERS must be pairs") as refused:
        from_env({"HFDEMO_USERS": value})
    assert "hush" not in str(refused.value)


def test_behind_a_proxy_on_this_machine_visitors_have_limits_and_no_numbers_as_the_host_of_a_public_page_wants():
    nginx = {"GRADIO_ROOT_PATH": "/chat", "HFDEMO_ALLOWED_HOSTS": "a.b", "HFDEMO_TRUSTED_PROXIES": "127.0.0.1"}
    settings = from_env(nginx)
    assert (settings.rate_per_minute, settings.max_of_one_address) == (20, 16)
    assert (settings.has_metrics, settings.batched) == (False, True)
    settings = from_env(nginx | {"HFDEMO_PRIVATE": "1"})
    assert (settings.rate_per_minute, settings.has_metrics, settings.batched) == (0, True, False)


def test_what_one_visitor_may_take_is_bounded_where_there_are_others():
    alone, among_others = from_env({}), from_env({"GRADIO_SERVER_NAME": "0.0.0.0", "HFDEMO_MAX_WAITING": "7"})
    assert (alone.rate_per_minute, alone.max_of_one_address) == (0, 32)
    assert (among_others.rate_per_minute, among_others.max_of_one_address) == (20, 4)


@pytest.mark.parametrize(
    ("environ", "hosts"),
    [
        ({}, ()),
        ({"SPACE_HOST": "me-chat.hf.space"}, ("me-chat.hf.space",)),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, ()),
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, ()),
        ({"GRADIO_SERVER_NAME": "Box.lan", "HFDEMO_ALLOWED_HOSTS": "a b,a"}, ("a", "b", "box.lan")),
        (
            {"HFDEMO_ALLOWED_HOSTS": "https://chat.example.com/, a.b:8443, *.lan, *, [::1]:80, ::1"},
            ("chat.example.com", "a.b", ".lan", "*", "[::1]", "::1"),
        ),
    ],
)
def test_the_page_has_the_names_it_was_given_and_the_one_it_listens_as(environ, hosts):
    assert from_env(environ).allowed_hosts == hosts


def test_uvicorns_variable_and_a_share_links_tunnel_name_proxies_too():
    assert from_env({"FORWARDED_ALLOW_IPS": "*"}).trusted_proxies == ("0.0.0.0/0",)
    assert from_env({"GRADIO_SHARE": "True"}).trusted_proxies == ("127.0.0.1",)
    with pytest.raises(SettingsError, match=r"HFDEMO_TRUSTED_PROXIES must hold IP addresses .* 'proxy.lan'"):
        from_env({"HFDEMO_TRUSTED_PROXIES": "10.0.0.1, proxy.lan"})


def test_the_first_of_the_models_is_the_one_to_start_with():
    assert from_env({"HFDEMO_MODELS": "org/a,org/b"}).model == "org/a"
    assert from_env({"HFDEMO_MODELS": "org/a,org/b", "HFDEMO_MODEL": "org/c"}).model == "org/c"


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, "local"),
        ({"SPACE_ID": "someone/chat"}, "space"),
        ({"SYSTEM": "spaces"}, "space"),
        ({"SPACE_ID": "someone/chat", "SPACES_ZERO_GPU": "true"}, "zerogpu"),
        ({"SPACES_ZERO_GPU": "1"}, "zerogpu"),
        ({"SPACES_ZERO_GPU": "false", "SPACE_ID": "a/b"}, "space"),
        ({"COLAB_RELEASE_TAG": "release-colab_20261101"}, "colab"),
    ],
)
def test_the_place_is_told_from_what_it_sets(environ, place):
    settings = from_env(environ)
    assert (settings.platform, settings.private) == (place, place == "local")


@pytest.mark.parametrize(
    ("environ", "private"),
    [
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, True),
        ({"GRADIO_SERVER_NAME": "localhost"}, True),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        ({"GRADIO_SERVER_NAME": "192.168.0.5"}, False),
        ({"GRADIO_SHARE": "True"}, False),
        ({"GRADIO_SHARE": "False"}, True),
        ({"HFDEMO_TRUSTED_PROXIES": "127.0.0.1"}, False),
        ({"FORWARDED_ALLOW_IPS": "127.0.0.1"}, False),
        ({"HFDEMO_ALLOWED_HOSTS": "chat.example.com"}, False),
        ({"GRADIO_ROOT_PATH": "/chat"}, False),
        ({"HFDEMO_TRUSTED_PROXIES": " ", "HFDEMO_ALLOWED_HOSTS": "", "GRADIO_ROOT_PATH": "/"}, True),
        ({"HFDEMO_TRUSTED_PROXIES": "127.0.0.1", "GRADIO_ROOT_PATH": "/chat", "HFDEMO_PRIVATE": "1"}, True),
        ({"HFDEMO_PRIVATE": "0"}, False),
        ({"HFDEMO_PRIVATE": " "}, True),
    ],
)
def test_a_page_is_private_if_only_this_machine_reaches_it(environ, private):
    assert from_env(environ).private is private


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("HFDEMO_QUANTIZE", "3bit", "auto, off, 8bit, 4bit"), ("HFDEMO_ALLOW_PICKLE", "yes", "0, 1")],
)
def test_a_choice_that_is_none_is_refused_with_those_there_are(name, value, allowed):
    with pytest.raises(SettingsError) as refused:
        from_env({name: value})
    for language in ("en", "ko"):
        assert all(part in refused.value.text(language) for part in (name, repr(value), allowed))


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_blank_values_count_as_unset(blank):
    assert from_env({"HFDEMO_MODEL": blank, "HFDEMO_TIME_LIMIT_S": blank, "HFDEMO_MAX_WAITING": blank}) == Settings()


RANGES = [
    ("HFDEMO_MAX_WAITING", "max_waiting", 1, 1000),
    ("HFDEMO_TIME_LIMIT_S", "time_limit_s", 1, 86_400),
    ("HFDEMO_CONTEXT", "context", 64, 10_000_000),
    ("HFDEMO_IDLE_UNLOAD_S", "idle_unload_s", 0, 604_800),
]


@pytest.mark.parametrize(("name", "field", "low", "high"), RANGES)
def test_whole_numbers_up_to_the_ends_of_the_range_are_taken(name, field, low, high):
    for value, number in ((str(low), low), (str(high), high), ("00099", 99)):
        assert getattr(from_env({name: value}), field) == number


@pytest.mark.parametrize(("name", "field", "low", "high"), RANGES)
@pytest.mark.parametrize(
    "value", ["-1", "99999999", "12.5", "1e2", "nan", "inf", "many", "0x10", "00000000132768", "9" * 5000]
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


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", None),
        (" http://host:8000/v1 ", "http://host:8000/v1"),
        ("https://my.host/a/b/", "https://my.host/a/b/"),
        ("HTTP://Host", "HTTP://Host"),
        ("localhost:8000", "http://localhost:8000"),
        ("//localhost:8000/v1", "http://localhost:8000/v1"),
        ("192.168.0.7:8080/v1", "http://192.168.0.7:8080/v1"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("gpu-box:8000", "http://gpu-box:8000"),
        ("gpu.local/v1", "http://gpu.local/v1"),
        ("api.example.com/v1", "https://api.example.com/v1"),
        ('"https://my.host/v1"', "https://my.host/v1"),
        ("\ufeffhttps://my.host/v1", "https://my.host/v1"),
        ("https://my.host/\u200bv1\u200b", "https://my.host/v1"),
        ("<https://my.host/v1>", "https://my.host/v1"),
        ("http://\uff2c\uff2f\uff23\uff21\uff2c\uff1a8000/v1", "http://LOCAL:8000/v1"),
        ("https://my\u00ad.host/v1", "https://my.host/v1"),
    ],
)
def test_an_endpoint_may_be_written_without_its_scheme(written, read):
    settings = from_env({"HFDEMO_ENDPOINT": written, "HFDEMO_ENDPOINT_KEY": " sk-1 \n"})
    assert settings.endpoint == read
    assert settings.endpoint_key == "sk-1"
    assert settings.is_remote is (read is not None)
    assert "sk-1" not in repr(settings)


@pytest.mark.parametrize(
    "written",
    [
        "http://",
        "ftp://host",
        "http://host:port",
        "http://ho st",
        "http://h:99999",
        "/v1",
        "http:/host/v1",
        "HTTPS:/h",
    ],
)
def test_what_is_no_address_is_refused(written):
    with pytest.raises(SettingsError, match="HFDEMO_ENDPOINT"):
        from_env({"HFDEMO_ENDPOINT": written})


@pytest.mark.parametrize(
    "written", ["https://u:secret@host:99999/v1", "ftp://u:secret@h/", "https://h:8000x/v1?key=secret", "u:secret@h h"]
)
def test_an_address_that_is_refused_is_shown_without_its_secrets(written):
    with pytest.raises(SettingsError, match="HFDEMO_ENDPOINT") as refused:
        from_env({"HFDEMO_ENDPOINT": written})
    assert "secret" not in refused.value.text("en") + refused.value.text("ko")


@pytest.mark.parametrize("around", ["\ufeff{}", "\u200b{}", ' "{}"\n', "'\ufeff{}'", "“{}”"])
def test_a_key_loses_what_is_around_it(around):
    assert (
        from_env({"HFDEMO_ENDPOINT": "http://a", "HFDEMO_ENDPOINT_KEY": around.format("sk-1")}).endpoint_key == "sk-1"
    )


def test_a_key_with_other_characters_is_refused_and_not_shown():
    with pytest.raises(SettingsError, match="HFDEMO_ENDPOINT_KEY") as refused:
        from_env({"HFDEMO_ENDPOINT": "http://a", "HFDEMO_ENDPOINT_KEY": "비밀"})
    assert "비밀" not in refused.value.text("en")


@pytest.mark.parametrize(
    ("model", "remote"),
    [
        ("org/name:groq", True),
        ("org/name:hf-inference", True),
        ("org/name:fastest", True),
        ("org/name:latest-ai", True),
        ("org/name", False),
        ("org/name@main", False),
        *((f"org/name:{tag}", False) for tag in ("latest", "main", "f16", "bf16", "f32", "q8", "iq4", "Q4_K_M")),
        *((f"org/name{end}:groq", False) for end in ("-GGUF", "-gguf", ".GGUF")),
        ("C:/models/mine", False),
        ("C:\\models\\mine", False),
        ("./folder/name:x", False),
        ("org/name/file.gguf", False),
        ("https://huggingface.co/org/name", False),
        (None, False),
    ],
)
def test_a_provider_behind_a_models_name_runs_it_elsewhere(model, remote):
    assert Settings(model=model).is_remote is remote


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "HFDEMO_LANGUAGE": "en"}, "en"),
        ({"LANG": "en_US.UTF-8", "HFDEMO_LANGUAGE": "KO"}, "ko"),
    ],
)
def test_the_terminals_language_is_the_hosts_or_else_the_systems(environ, language):
    assert from_env(environ).language == language
