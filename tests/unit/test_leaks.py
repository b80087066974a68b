"""Keys are found in what is to be sent, by their place; and what is shown of a log has none."""

import pytest

from hfdemo.publish.folder import read_folder
from hfdemo.publish.leaks import Leak, find_leaks, mask
from tests.conftest import ROOT

# Put together, so that nothing in this repository looks like a real key.
KEYS = {
    "Hugging Face": ["hf_" + "aB3" * 8, "hf_oauth_" + "aB3" * 8, "api_org_" + "aB3" * 8],
    "OpenAI, Anthropic": ["sk-" + "aB3" * 10, "sk-proj-" + "aB3_" * 10, "sk-ant-api03-" + "aB3-" * 10],
    "GitHub": ["ghp_" + "aB3" * 12, "github_pat_" + "aB3_" * 12],
    "GitLab": ["glpat-" + "aB3" * 8],
    "AWS": ["AKIA" + "AB34" * 4],
    "Google": ["AIza" + "aB3-_" * 7],
    "Slack": ["xoxb-" + "123-" * 5],
    "PEM": ["-----BEGIN " + "RSA PRIVATE KEY-----", "-----BEGIN " + "PRIVATE KEY-----"],
}
EACH = [(maker, key) for maker, keys in KEYS.items() for key in keys]


@pytest.mark.parametrize(("maker", "key"), EACH)
@pytest.mark.parametrize("around", ["{}", "TOKEN='{}'", "a={},b", 'x: "{}"', "https://user:{}@host", "Bearer {}\r"])
def test_a_key_is_found_by_its_line_wherever_it_stands(maker, key, around):
    content = f"first\n{around.format(key)}\nlast\n".encode()
    assert find_leaks([("a.py", b"nothing\n"), ("b.py", content)], {}) == [Leak("b.py", 2, maker)]


@pytest.mark.parametrize(("maker", "key"), EACH)
def test_a_key_is_found_between_bytes_that_are_no_text(maker, key):
    assert find_leaks([("a.png", b"\x89PNG\0\xff\n\xfe " + key.encode() + b"\0")], {}) == [Leak("a.png", 2, maker)]


@pytest.mark.parametrize("address", ["https://anna:geheim@pypi.example.com/simple", "postgres://a:b@db/x"])
def test_a_password_in_an_address_is_found_and_masked(address):
    content = f"torch\n--index-url {address}\n"
    assert find_leaks([("requirements.txt", content.encode())], {}) == [Leak("requirements.txt", 2, "URL")]
    masked = mask(content, {})
    assert "://***@" in masked and "geheim" not in masked and ":b@" not in masked


@pytest.mark.parametrize(
    "text",
    [
        "hf_***",
        "https://{user}:{password}@host",
        "http://<name>:<password>@host",
        "http://127.0.0.1:7860/ and a@b",
        "hf_token",
        "hf_hub_download_and_more_words",
        "task-with-a-very-long-name-of-many-words",
        "--mask-image-of-the-whole-page-and-more",
        "desk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "AKIAAAAA",
        "BEGIN PUBLIC KEY",
    ],
)
def test_words_are_no_keys(text):
    assert find_leaks([("a.py", text.encode())], {}) == []


def test_known_values_are_found_by_their_names_and_short_ones_are_let_be():
    known = {"KEY": "geheim-und-lang", "FLAG": "1", "EMPTY": ""}
    assert find_leaks([("a.py", b"a = 1\nb = 'geheim-und-lang'")], known) == [Leak("a.py", 2, "KEY")]


def test_nothing_of_the_project_looks_like_a_key():
    assert find_leaks(((file.path, file.content) for file in read_folder(ROOT, None, True)), {}) == []


@pytest.mark.parametrize(("maker", "key"), EACH)
def test_a_key_is_masked(maker, key):
    assert key not in mask(f"error: {key} is wrong", {})
    assert mask(f"error: {key} is wrong", {}).startswith("error: ")


def test_known_values_are_masked():
    assert mask("x geheim-und-lang y 1", {"KEY": "geheim-und-lang", "FLAG": "1"}) == "x *** y 1"
