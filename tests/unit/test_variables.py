"""Variables of other programs are made usable, or refused in one sentence, before a library reads them."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time

import certifi
import httpx
import httpx2
import pytest

from hfdemo.commands.doctor import _account
from hfdemo.commands.login import _login_error
from hfdemo.commands.terminal import exit_status
from hfdemo.engines.remote.address import find_address
from hfdemo.engines.remote.host import RemoteHost
from hfdemo.errors import ModelLoadError, PublishError, SettingsError, install_command
from hfdemo.models import tokens
from hfdemo.models.hub_private import constants
from hfdemo.models.saved_token import saved_token, token_source
from hfdemo.models.source import HubModel
from hfdemo.models.tokens import check_token, usable_token_source
from hfdemo.publish.account import who_publishes
from hfdemo.settings import Settings, from_env
from hfdemo.variables import NO_PROXIES, PROXIES, TOKEN_VARIABLES, refuse_network, sanitize_variables
from tests.conftest import ROOT


def mended(**environ: str) -> dict[str, str]:
    sanitize_variables(environ)
    return environ


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_no_proxy_leads_to_this_machine(name, monkeypatch):
    found = mended(**{name: "http://127.0.0.1:9", "no_proxy": "intranet", "NO_PROXY": "example.com intranet"})
    assert found["no_proxy"] == found["NO_PROXY"] == "intranet,example.com,localhost,127.0.0.1,::1"
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    for variable, value in found.items():
        monkeypatch.setenv(variable, value)
    with httpx.Client() as client:
        for host in ("127.0.0.1", "localhost", "[::1]"):
            assert client._transport_for_url(httpx.URL(f"http://{host}:7860")) is client._transport


NO_PROXY_ENTRIES = {
    "[::1]": "::1",
    "[::1]:80": "all://[::1]:80",
    "::1/128": "::1",
    "fe80::/10": "all://[fe80::]/10",
    "[fe80::/10]": "all://[fe80::]/10",
    "[2001:db8::]/32": "all://[2001:db8::]/32",
    "fe80::1%eth0": "fe80::1%eth0",
    "회사.kr": "all://xn--vf4b131b.kr",
    "xn--vf4b131b.kr": "all://xn--vf4b131b.kr",
    "*.회사.kr": "all://xn--vf4b131b.kr",
    "한글,[::1]": "all://xn--bj0bj06e,::1",
    "http://회사.kr:8080": "http://xn--vf4b131b.kr:8080",
    "localhost:abc": "",
    "localhost:99999": "",
    "10.0.0.0/8, corp .intern": "10.0.0.0/8,corp,.intern",
    "*": "*",
    "a:8080": "a:8080",
    "[::1": "",
    "[::1]:x": "",
    "[::1]:99999": "",
    "http://[::1": "",
    "fe80::/999": "",
    "xn--a": "",
    "☃.kr,a": "a",
    "ㅐ.kr,שלום": "",
    "a\x01": "",
    "한글..": "",
    "": "",
}
"""What `no_proxy` may hold, and what becomes of it."""


@pytest.mark.parametrize("proxy", [{}, {"http_proxy": "http://127.0.0.1:9"}], ids=["no proxy", "a proxy"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("written", NO_PROXY_ENTRIES)
def test_what_goes_past_the_proxy_can_be_read_by_the_libraries(written, name, proxy, monkeypatch):
    found = mended(**{name: written}, **proxy)
    if not proxy:
        assert found[name] == NO_PROXY_ENTRIES[written]
    for variable in (*PROXIES, *NO_PROXIES):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in found.items():
        monkeypatch.setenv(variable, value)
    for library in (httpx, httpx2):
        library.Client().close()


@pytest.mark.parametrize(
    ("written", "address"),
    [("[::2]", "http://[::2]:9"), ("회사.kr", "http://회사.kr"), ("[2001:db8::]/32", "http://[2001:db8::]")],
)
def test_what_goes_past_the_proxy_still_does(written, address, monkeypatch):
    for variable in (*PROXIES, *NO_PROXIES):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in mended(http_proxy="http://127.0.0.1:9", no_proxy=written).items():
        monkeypatch.setenv(variable, value)
    for library in (httpx, httpx2):
        with library.Client() as client:
            assert client._transport_for_url(library.URL(address)) is client._transport


def test_the_pages_own_address_is_reached_without_a_proxy_too():
    assert mended(http_proxy="p:1", GRADIO_SERVER_NAME="10.0.0.7")["no_proxy"].endswith(",10.0.0.7")


def test_without_a_proxy_nothing_changes():
    assert mended(http_proxy="", NO_PROXY="a") == {"http_proxy": "", "NO_PROXY": "a"}


@pytest.mark.parametrize(
    "around", ["\ufeff{}", "{}\u200b", "\u202a{}\u202c", "“{}”", "`{}`", " {}\n", "'{}'", '\u2060"{}"\xa0', "{}"]
)
def test_a_token_loses_what_is_around_it(around):
    assert mended(HF_TOKEN=around.format("hf_abc")) == {"HF_TOKEN": "hf_abc"}


@pytest.mark.parametrize(
    ("written", "path"),
    [("chat", "/chat"), ("chat/", "/chat"), ("/chat", "/chat"), ("/a/b/", "/a/b"), (" chat ", "/chat")],
)
def test_the_path_of_the_page_gets_its_slash(written, path):
    assert mended(GRADIO_ROOT_PATH=written) == {"GRADIO_ROOT_PATH": path}


def test_a_path_of_nothing_is_none_and_an_address_stays():
    for written in ("", " ", "/", " / "):
        assert mended(GRADIO_ROOT_PATH=written) == {}
    address = "https://example.com/chat"
    assert mended(GRADIO_ROOT_PATH=address) == {"GRADIO_ROOT_PATH": address}


@pytest.mark.parametrize(
    "name", ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE", "XDG_CACHE_HOME", "HF_ENDPOINT"]
)
def test_a_folder_or_a_mirror_of_nothing_is_none(name):
    for written in ("", " "):
        assert mended(**{name: written}) == {}
    assert mended(**{name: "https://a b\r"}) == {name: "https://a b"}


@pytest.mark.parametrize(
    "written", ["hf-mirror.com", '"https://hf-mirror.com"', " https://hf-mirror.com\r", "'hf-mirror.com'"]
)
def test_the_address_of_a_mirror_gets_its_scheme(written):
    assert mended(HF_ENDPOINT=written) == {"HF_ENDPOINT": "https://hf-mirror.com"}


def test_an_empty_port_or_host_is_none():
    assert mended(GRADIO_SERVER_PORT=" ", GRADIO_NUM_PORTS="", GRADIO_SERVER_NAME=" ") == {}
    assert mended(GRADIO_SERVER_NAME=" 127.0.0.1\n") == {"GRADIO_SERVER_NAME": "127.0.0.1"}


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"GRADIO_SERVER_PORT": "abc"}, "bad_setting"),
        ({"GRADIO_SERVER_PORT": "0"}, "bad_setting"),
        ({"GRADIO_SERVER_PORT": "99999"}, "bad_setting"),
        ({"GRADIO_SERVER_PORT": "-1"}, "bad_setting"),
        ({"GRADIO_SERVER_PORT": "7860.5"}, "bad_setting"),
        *(
            ({"GRADIO_SERVER_NAME": name}, "bad_address")
            for name in ("http://127.0.0.1", "127.0.0.1:7860", "a b", "*", "한국", "::1]x", "1::2::3", "a/b")
        ),
        ({"GRADIO_NUM_PORTS": "many"}, "bad_setting"),
        ({"GRADIO_NODE_NUM_PORTS": "many"}, "bad_setting"),
        ({"GRADIO_DEBUG": "true"}, "bad_setting"),
        ({"HF_HUB_DOWNLOAD_TIMEOUT": "10s"}, "bad_setting"),
        ({"HF_HUB_ETAG_TIMEOUT": "2.5"}, "bad_setting"),
        ({"http_proxy": "http://[::1"}, "bad_proxy_url"),
        ({"HTTPS_PROXY": "http://proxy:abc"}, "bad_proxy_url"),
        ({"https_proxy": "proxy:99999"}, "bad_proxy_url"),
        ({"all_proxy": ":"}, "bad_proxy_url"),
        ({"SSL_CERT_FILE": "/no/such/file"}, "bad_certificates"),
        ({"SSL_CERT_FILE": __file__}, "bad_certificates"),
        ({"all_proxy": "socks4://127.0.0.1:1080"}, "bad_proxy_address"),
        ({"HTTP_PROXY": "ftp://127.0.0.1"}, "bad_proxy_address"),
        ({"all_proxy": "socks5://127.0.0.1:1080"}, "socks_package"),
        ({"ALL_PROXY": "SOCKS5H://127.0.0.1:1080"}, "socks_package"),
        ({"HFDEMO_LANGUAGE": "fr"}, "bad_choice"),
        ({"HFDEMO_PRIVATE": "yes"}, "bad_choice"),
    ],
)
def test_what_cant_be_used_is_refused_with_its_name(environ, key, monkeypatch):
    monkeypatch.setattr("hfdemo.variables.importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError) as refused:
        from_env(environ)
    assert refused.value.key == key
    assert next(iter(environ)) in refused.value.text("en") and next(iter(environ)) in refused.value.text("ko")


def test_what_installs_the_socks_package_is_said_with_every_variable_to_unset(monkeypatch):
    monkeypatch.setattr("hfdemo.variables.importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError) as refused:
        from_env({"all_proxy": "socks5://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1", "http_proxy": "http://a"})
    for language in ("en", "ko"):
        said = refused.value.text(language)
        assert install_command("socksio") in said and "all_proxy, ALL_PROXY" in said and "HTTP" in said


def test_a_socks_proxy_with_its_package_is_taken(monkeypatch):
    monkeypatch.setattr("hfdemo.variables.importlib.util.find_spec", lambda name: object())
    from_env({"all_proxy": "socks5://127.0.0.1:1080"})


@pytest.mark.parametrize(
    ("environ", "private"),
    [
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        ({"GRADIO_SERVER_NAME": "0.0.0.0", "HFDEMO_PRIVATE": "1"}, True),
        ({"GRADIO_SHARE": "true", "HFDEMO_PRIVATE": "1"}, False),
        ({"SPACE_ID": "a/b", "HFDEMO_PRIVATE": "1"}, False),
    ],
)
def test_a_container_may_be_private_although_it_listens_to_all(environ, private):
    assert from_env(environ).private == private


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "0.0.0.0", "::1", "[::1]", "::", "[::]", "fe80::1%eth0", "my-pc_1.local"]
)
def test_addresses_and_names_may_be_listened_on(name):
    refuse_network({"GRADIO_SERVER_NAME": name})


@pytest.mark.parametrize("language", ["C", "ko_KR.UTF-8"])
def test_a_wrong_port_is_one_sentence_before_anything_slow_is_imported(language):
    environ = os.environ | {"GRADIO_SERVER_PORT": "abc", "LC_ALL": language, "PYTHONIOENCODING": "utf-8"}
    environ.pop("HFDEMO_LANGUAGE", None)
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environ, capture_output=True, encoding="utf-8")
    assert ended.returncode == 1
    assert time.monotonic() - began < 5
    [sentence] = ended.stderr.splitlines()
    assert "GRADIO_SERVER_PORT" in sentence and "'abc'" in sentence
    assert ("정수" in sentence) == language.startswith("ko")


def test_a_proxys_password_is_not_said():
    with pytest.raises(SettingsError) as refused:
        from_env({"http_proxy": "http://anna:geheim@proxy:abc"})
    assert "geheim" not in refused.value.text("en") + refused.value.text("ko")


@pytest.mark.parametrize(
    "environ",
    [
        {"SSL_CERT_FILE": ""},
        {"SSL_CERT_FILE": certifi.where()},
        {"http_proxy": "proxy.example.com:8080"},
        {"https_proxy": "http://anna:geheim@10.0.0.1"},
        {"HF_HUB_DOWNLOAD_TIMEOUT": "30", "GRADIO_DEBUG": "1"},
    ],
)
def test_what_can_be_used_is_taken(environ):
    from_env(environ)


@pytest.mark.parametrize("token", ["hf_한글", "hf_a b", "hf_\u200ba", "Bearer hf_a"])
def test_a_token_that_no_header_can_hold_is_invalid_before_anything_is_asked(token, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ModelLoadError) as refused:
        check_token("local")
    assert (refused.value.key, refused.value.fields["source"]) == ("bad_token", "HF_TOKEN")
    assert refused.value.advice == "new_token_variable"
    with pytest.raises(ModelLoadError, match="HF_TOKEN"):
        who_publishes("local")


def hang(token: str, cache: bool) -> None:
    time.sleep(5)


def sign_in_first(token: str, cache: bool) -> None:
    json.loads("<html>")


@pytest.mark.parametrize("answer", [hang, sign_in_first])
def test_a_hub_that_doesnt_say_whose_a_token_is_is_not_waited_for(answer, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    monkeypatch.setattr(tokens, "whoami", answer)
    monkeypatch.setattr(tokens, "ANSWERS_WITHIN_S", 0.05)
    assert _account(Settings(), "en").endswith("the Hub can't tell right now whose it is")
    with pytest.raises(PublishError) as refused:
        who_publishes("local")
    assert (refused.value.key, exit_status(refused.value)) == ("hub_unreachable", 23)


def test_a_token_that_no_hub_has_looked_at_is_not_called_invalid():
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads("<html>")
    assert _login_error(raised.value, "local").key == "hub_unreachable"
    assert _login_error(ValueError("not a token"), "local").key == "bad_typed_token"


@pytest.fixture(params=["UTF-16", "a folder"])
def unreadable(request, tmp_path, monkeypatch):
    """Save the access token where it can't be read."""
    file = tmp_path / "token"
    if request.param == "a folder":
        file.mkdir()
    else:
        file.write_bytes("hf_abc\r\n".encode("utf-16"))  # as PowerShell's > writes
    save_token(file, monkeypatch)


def save_token(file, monkeypatch):
    for name in TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(file))


def test_a_saved_token_that_cant_be_read_is_invalid(unreadable):
    for ask in (check_token, who_publishes):
        with pytest.raises(ModelLoadError) as refused:
            ask("local")
        assert (refused.value.key, refused.value.fields["source"]) == ("bad_token", "hf auth login")
        assert refused.value.advice == "new_token_local"


def test_a_saved_token_that_cant_be_read_stops_only_what_needs_it(unreadable):
    assert find_address(Settings(endpoint="http://127.0.0.1:9"), saved_token()).key == ""
    provider = Settings(model="org/name:groq")
    host = RemoteHost(provider, find_address(provider, saved_token()))
    with pytest.raises(ModelLoadError) as refused:
        asyncio.run_coroutine_threadsafe(host.find(), host.loop).result(10)
    assert refused.value.key == "bad_token"


@pytest.mark.parametrize("around", ["\ufeff{}", "\u200b{}\u200b", '"{}"\r\n', "\xa0{} ", "“{}”"])
def test_a_saved_token_loses_what_is_around_it_wherever_it_is_sent(around, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(around.format("hf_abc"), "utf-8")
    save_token(file, monkeypatch)
    assert saved_token() == HubModel("org/name").token == "hf_abc"
    assert HubModel("org/name", public=True).token is False
    assert find_address(Settings(model="org/name:groq"), saved_token()).key == "hf_abc"
    assert usable_token_source("local") == "hf auth login"


def test_a_saved_token_of_nothing_is_none(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("\ufeff \n", "utf-8")
    save_token(file, monkeypatch)
    assert saved_token() is None and token_source("local") is None


def test_below_a_file_no_token_is_saved(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    save_token(tmp_path / "file" / "token", monkeypatch)
    assert saved_token() is None


def test_the_saved_token_has_one_reader():
    files = [*(ROOT / "hfdemo").rglob("*.py"), ROOT / "app.py"]
    readers = [file.name for file in files if re.search(r"import.*\bget_token\b", file.read_text("utf-8"))]
    assert readers == ["saved_token.py"]


@pytest.mark.parametrize("token", ["hf_a\nb", "hf_a\r\nb\n"])
def test_a_token_of_two_lines_comes_from_where_it_was_set(token, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    assert token_source("local") == "HF_TOKEN"
