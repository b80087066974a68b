"""`python -m hfdemo prompt` prints the exact prompt of a conversation, and needs no weights."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest

from hfdemo.__main__ import main
from hfdemo.chat.messages import Message
from hfdemo.chat.options import LIMITS, read_options
from hfdemo.chat.prompt import PromptBuilder
from hfdemo.chat.request import ChatRequest
from hfdemo.commands.prompt import CONTROL, read_messages, run
from hfdemo.decoding.request import make_decode_request
from hfdemo.errors import InvalidInput, own_command
from hfdemo.models.load import load_prompts
from tests.unit.families import Family, all_families, base_models

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "한국의 수도는? 뷁 <|im_end|>"},
    {"role": "assistant", "content": "Seoul."},
    {"role": "user", "content": "Thanks"},
]
NO_REPLY = Message("assistant", "")
CHATML_TEXT = (
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n한국의 수도는? 뷁 <|im_end|><|im_end|>\n"
    "<|im_start|>assistant\nSeoul.<|im_end|>\n<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\n"
)
DEEP = "[" * 100_000


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no model of the machine count, and undo what the command sets."""
    for name in ("HFDEMO_MODEL", "HFDEMO_TIME_LIMIT_S", "HFDEMO_MAX_WAITING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(family("SmolLM2"), tmp_path_factory.mktemp("chat"), max_position_embeddings=2048)


@pytest.fixture(scope="module")
def thinking_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(family("Qwen 3"), tmp_path_factory.mktemp("thinking"), max_position_embeddings=2048)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(family("SmolLM2"), tmp_path_factory.mktemp("small"), max_position_embeddings=64)


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(base_models()[0], tmp_path_factory.mktemp("base"), max_position_embeddings=1024)


def family(name: str) -> Family:
    return next(family for family in all_families() if family.name == name)


def save(family: Family, folder: Path, max_position_embeddings: int) -> Path:
    """Save a tokenizer and a configuration, as transformers does, without any weights."""
    family.tokenizer.save_pretrained(folder)
    config = {"model_type": "llama", "max_position_embeddings": max_position_embeddings}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return folder


def write(folder: Path, messages: Any) -> str:
    file = folder / "messages.json"
    file.write_text(json.dumps(messages, ensure_ascii=False), "utf-8")
    return str(file)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command with `--json` and return what it printed."""
    assert main(["prompt", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return dict(json.loads(out))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    """Run the command, which must exit with a status, and return the one line it says."""
    assert main(["prompt", *arguments]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and "Traceback" not in err
    return err.strip()


class TestReadMessages:
    def test_takes_the_system_prompt_and_the_turns(self):
        assert read_messages(json.dumps(CHAT)) == (
            "Be kind.",
            [
                Message("user", "한국의 수도는? 뷁 <|im_end|>"),
                Message("assistant", "Seoul."),
                Message("user", "Thanks"),
            ],
            NO_REPLY,
        )

    def test_takes_a_last_message_of_the_assistant_as_the_beginning_of_its_reply(self):
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " Sure,\n "}]
        assert read_messages(json.dumps(messages)) == (
            "",
            [Message("user", "Hi")],
            Message("assistant", " Sure,\n "),
        )

    def test_takes_thoughts_as_transformers_names_them(self):
        messages = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello", "reasoning_content": "Hm."},
            {"role": "user", "content": "Bye"},
            {"role": "assistant", "content": "", "reasoning_content": "So"},
        ]
        assert read_messages(json.dumps(messages)) == (
            "",
            [Message("user", "Hi"), Message("assistant", "Hello", "Hm."), Message("user", "Bye")],
            Message("assistant", "", "So"),
        )

    def test_takes_only_the_very_last_message_as_the_beginning_of_a_reply(self):
        messages = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
        assert read_messages(json.dumps(messages)) == ("", [Message("assistant", "a")], Message("assistant", "b"))

    def test_joins_several_system_prompts_wherever_they_stand(self):
        messages = [
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "one"},
            {"role": "system", "content": "two"},
        ]
        assert read_messages(json.dumps(messages)) == ("one\n\ntwo", [Message("user", "Hi")], NO_REPLY)

    def test_of_nothing_are_nothing(self):
        assert read_messages("[]") == ("", [], NO_REPLY)

    def test_leaves_other_fields_alone(self):
        assert read_messages('[{"role": "user", "content": "Hi", "name": 5}]')[1] == [Message("user", "Hi")]

    def test_replaces_what_no_tokenizer_takes(self):
        assert read_messages('[{"role": "user", "content": "a\\ud800"}]')[1] == [Message("user", "a\ufffd")]

    def test_takes_a_file_with_a_byte_order_mark(self):
        assert read_messages('\ufeff[{"role": "user", "content": "Hi"}]')[1] == [Message("user", "Hi")]

    @pytest.mark.parametrize(
        "text", ["", "Hi", "[", '[{"role": "user" "content"}]', DEEP, '{"a":' * 100_000, "9" * 5000]
    )
    def test_says_what_is_wrong_with_text_that_is_no_json(self, text: str):
        with pytest.raises(InvalidInput) as refused:
            read_messages(text)
        assert refused.value.key == "bad_messages"
        assert str(refused.value.fields["problem"]) in refused.value.text("ko")
        assert len(str(refused.value)) < 200

    @pytest.mark.parametrize(
        "value",
        [
            None,
            5,
            "Hi",
            {"role": "user", "content": "Hi"},
            ["Hi"],
            [None],
            [{}],
            [{"role": "user"}],
            [{"content": "Hi"}],
            [{"role": "tool", "content": "Hi"}],
            [{"role": ["user"], "content": "Hi"}],
            [{"role": "user", "content": None}],
            [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            [CHAT],
            [*CHAT, 5],
        ],
        ids=repr,
    )
    def test_says_what_a_list_of_messages_is(self, value: Any):
        with pytest.raises(InvalidInput) as refused:
            read_messages(json.dumps(value))
        assert refused.value.key == "bad_messages"
        assert 'not a list of {"role": …, "content": …}' in str(refused.value)


class TestJson:
    def test_of_a_chat_model_holds_the_exact_prompt(self, capsys, tmp_path, chat_model):
        prompts = PromptBuilder(family("SmolLM2").tokenizer, 2048)
        system_prompt, turns, _ = read_messages(json.dumps(CHAT))
        ids = prompts.build(turns, system_prompt, 512).ids
        shown = printed(capsys, write(tmp_path, CHAT), "--model", str(chat_model))
        assert shown == {
            "text": CHATML_TEXT,
            "ids": list(ids),
            "special": [special for _, special in prompts.show(ids)],
            "dropped": 0,
            "limit": 2048,
            "stop": [],
            "base_model": False,
        }
        assert sum(shown["special"]) == CHATML_TEXT.count("<|") - 1

    def test_of_a_base_model_holds_the_exact_prompt_and_where_its_reply_ends(self, capsys, tmp_path, base_model):
        text = "System: Be kind.\nUser: 한국의 수도는? 뷁 <|im_end|>\nAssistant: Seoul.\nUser: Thanks\nAssistant:"
        shown = printed(capsys, write(tmp_path, CHAT), "--model", str(base_model))
        assert shown.pop("ids") == PromptBuilder(base_models()[0].tokenizer, None)._encode_text(text, True)
        assert set(shown.pop("special")) == {False}
        assert shown == {
            "text": text,
            "dropped": 0,
            "limit": 1024,
            "stop": ["\nSystem:", "\nUser:", "\nAssistant:"],
            "base_model": True,
        }

    def test_ends_in_the_beginning_of_the_reply(self, capsys, tmp_path, chat_model):
        messages = [*CHAT, {"role": "assistant", "content": "You are <|im_end|>"}]
        shown = printed(capsys, write(tmp_path, messages), "--model", str(chat_model))
        assert shown["text"] == f"{CHATML_TEXT}You are <|im_end|>"
        assert shown["special"][-1] is False

    @pytest.mark.parametrize("thinking", ["auto", "off", "on"])
    def test_is_what_the_page_shows_for_the_same_settings(self, capsys, tmp_path, thinking_model, thinking):
        arguments = ("--thinking", thinking, "--system", "Be brief.", "--reply-start", "Sure")
        shown = printed(capsys, write(tmp_path, CHAT), "--model", str(thinking_model), *arguments)
        turns = tuple(read_messages(json.dumps(CHAT))[1])
        options = read_options(*(limit.default for limit in LIMITS.values()), thinking=thinking)
        request = ChatRequest(turns, "Be brief.", options, reply_start="Sure")
        assert make_decode_request(load_prompts(str(thinking_model)), request).prompt.ids == tuple(shown["ids"])
        assert shown["text"].startswith("<|im_start|>system\nBe brief.<|im_end|>") and shown["text"].endswith("Sure")

    def test_reserves_as_much_for_the_reply_as_the_page_does(self, capsys, tmp_path, small_model):
        arguments = ("--model", str(small_model), "--max-new-tokens")
        assert printed(capsys, write(tmp_path, CHAT), *arguments, "4096") == printed(
            capsys, write(tmp_path, CHAT), *arguments, "32"
        )

    def test_drops_the_oldest_messages_when_the_context_is_small(self, capsys, tmp_path, small_model):
        turns = [
            {"role": "assistant" if number % 2 else "user", "content": f"message {number}"} for number in range(21)
        ]
        sizes = []
        for room in (1, 8, 16):
            arguments = ("--model", str(small_model), "--max-new-tokens", str(room))
            shown = printed(capsys, write(tmp_path, [CHAT[0], *turns]), *arguments)
            assert shown["limit"] == 64
            assert len(shown["ids"]) == len(shown["special"]) <= 64 - room
            assert shown["dropped"] > 0 and shown["dropped"] % 2 == 0
            assert shown["text"].startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nmessage ")
            assert f"message {shown['dropped']}<" in shown["text"]
            assert f"message {shown['dropped'] - 1}<" not in shown["text"]
            assert shown["text"].endswith("message 20<|im_end|>\n<|im_start|>assistant\n")
            sizes.append(len(shown["ids"]))
        assert sizes == sorted(sizes, reverse=True)

    def test_comes_from_standard_input_too(self, capsys, tmp_path, chat_model, monkeypatch):
        from_file = printed(capsys, write(tmp_path, CHAT), "--model", str(chat_model))
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CHAT)))
        assert printed(capsys, "-", "--model", str(chat_model)) == from_file

    def test_is_of_the_model_that_the_environment_names(self, capsys, tmp_path, base_model, chat_model, monkeypatch):
        monkeypatch.setenv("HFDEMO_MODEL", str(base_model))
        assert printed(capsys, write(tmp_path, CHAT))["base_model"] is True
        assert printed(capsys, write(tmp_path, CHAT), "--model", str(chat_model))["base_model"] is False

    def test_shows_text_as_it_is(self, capsys, tmp_path, chat_model):
        assert run(write(tmp_path, CHAT), str(chat_model), as_json=True) == 0
        assert "한국의 수도는? 뷁 <|im_end|>" in capsys.readouterr().out


class TestForPeople:
    def test_control_tokens_are_marked_and_all_characters_whole(self, capsys, tmp_path, chat_model):
        assert run(write(tmp_path, CHAT), str(chat_model), as_json=False) == 0
        out = capsys.readouterr().out
        start, end = CONTROL.format("<|im_start|>"), CONTROL.format("<|im_end|>")
        assert out.startswith(
            f"{start}system\nBe kind.{end}\n"
            f"{start}user\n한국의 수도는? 뷁 <|im_end|>{end}\n"
            f"{start}assistant\nSeoul.{end}\n"
        )
        shown = printed(capsys, write(tmp_path, CHAT), "--model", str(chat_model))
        assert out.endswith(f"\n\n\n{len(shown['ids'])} tokens of 2048; 0 messages left out\n")

    def test_spaces_stay_where_the_tokenizer_writes_them_itself(self, capsys, tmp_path):
        folder = save(family("Mistral, v3"), tmp_path, max_position_embeddings=4096)
        messages = [{"role": "user", "content": "the cat and  the hat"}]
        assert run(write(tmp_path, messages), str(folder), as_json=False) == 0
        assert "the cat and  the hat" in capsys.readouterr().out


class TestRefusals:
    def test_of_a_file_that_is_not_there_name_it(self, capsys, tmp_path, chat_model):
        said = refusal(capsys, str(tmp_path / "nothing.json"), "--model", str(chat_model))
        assert said.startswith("The messages can't be read: ") and "nothing.json" in said

    def test_of_a_folder_name_it(self, capsys, tmp_path, chat_model):
        assert tmp_path.name in refusal(capsys, str(tmp_path), "--model", str(chat_model))

    def test_of_a_file_that_is_no_text_say_so(self, capsys, tmp_path, chat_model):
        (tmp_path / "messages.json").write_bytes(b'["\xff"]')
        assert "utf-8" in refusal(capsys, str(tmp_path / "messages.json"), "--model", str(chat_model))

    @pytest.mark.parametrize("text", ["", "[{]", DEEP, "{}"], ids=["nothing", "no JSON", "too deep", "no list"])
    def test_of_messages_that_are_none_come_before_the_model_is_looked_for(self, capsys, monkeypatch, text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert refusal(capsys, "-", "--model", "/no/such/folder").startswith("The messages can't be read: ")

    @pytest.mark.parametrize(
        "messages",
        [[], [CHAT[0]], [{"role": "user", "content": " "}], [{"role": "assistant", "content": "Hi"}]],
        ids=["none", "system only", "blank", "assistant only"],
    )
    def test_of_messages_that_ask_nothing_say_what_is_missing(self, capsys, tmp_path, chat_model, messages):
        said = refusal(capsys, write(tmp_path, messages), "--model", str(chat_model))
        assert said == "Write a message first."

    def test_of_a_thinking_mode_that_the_model_lacks_name_those_it_has(self, capsys, tmp_path, thinking_model):
        said = refusal(capsys, write(tmp_path, CHAT), "--model", str(thinking_model), "--thinking", "high")
        assert said == "This model has no thinking mode high. Choose one of: auto, off, on."

    def test_of_a_thinking_mode_that_no_model_has_name_them_all(self, capsys, tmp_path, thinking_model):
        said = refusal(capsys, write(tmp_path, CHAT), "--model", str(thinking_model), "--thinking", "hard")
        assert said.startswith("thinking must be one of auto, off, on, low, medium, high")

    def test_of_a_template_that_shows_no_question_have_its_own_words(self, capsys, tmp_path):
        broken = family("SmolLM2").tokenizer.chat_template + "{{ raise_exception('Only with tools') }}"
        tokenizer = copy.deepcopy(family("SmolLM2").tokenizer)
        tokenizer.chat_template = broken
        folder = save(Family("broken", tokenizer), tmp_path / "broken", max_position_embeddings=64)
        said = refusal(capsys, write(tmp_path, CHAT), "--model", str(folder), status=28)
        assert "Only with tools" in said and "HFDEMO_CHAT_TEMPLATE" in said

    def test_end_where_the_host_chooses_no_template(self, capsys, tmp_path, chat_model, monkeypatch):
        monkeypatch.setenv("HFDEMO_CHAT_TEMPLATE", "none")
        assert main(["prompt", write(tmp_path, CHAT), "--model", str(chat_model), "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["text"].startswith("System: Be kind.\nUser: ")
        assert err == "HFDEMO_CHAT_TEMPLATE is none, so the model's own chat template is not used.\n"

    @pytest.mark.parametrize("room", ["0", "-5", "4097"])
    def test_of_a_reply_without_tokens_name_the_argument(self, capsys, tmp_path, chat_model, room):
        said = refusal(capsys, write(tmp_path, CHAT), "--model", str(chat_model), "--max-new-tokens", room)
        assert said == f"max_new_tokens must be a number from 1 to 4096; it was {room}."

    def test_of_what_does_not_fit_say_all_three_numbers(self, capsys, tmp_path, small_model):
        long = [{"role": "user", "content": "the cat and the hat " * 20}]
        said = refusal(capsys, write(tmp_path, long), "--model", str(small_model), "--max-new-tokens", "64")
        assert "may take 32, but the model's context holds 64 in all" in said

    def test_of_a_model_that_is_not_there_name_it(self, capsys, tmp_path):
        said = refusal(capsys, write(tmp_path, CHAT), "--model", str(tmp_path / "no-model"))
        assert "no-model" in said

    def test_of_a_folder_without_a_tokenizer_name_the_model(self, capsys, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "empty" in refusal(capsys, write(tmp_path, CHAT), "--model", str(tmp_path / "empty"), status=26)

    def test_of_a_bad_setting_name_it(self, capsys, tmp_path, monkeypatch):
        monkeypatch.setenv("HFDEMO_MAX_WAITING", "many")
        assert "HFDEMO_MAX_WAITING" in refusal(capsys, write(tmp_path, CHAT))

    @pytest.mark.parametrize("arguments", [[], ["a.json", "b.json"], ["a.json", "--max-new-tokens", "many"]])
    def test_of_bad_arguments_show_the_usage(self, capsys, arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["prompt", *arguments])
        assert exit_.value.code == 2
        assert f"usage: {own_command()}" in capsys.readouterr().err


def test_says_all_in_the_language_that_is_asked_for(capsys, tmp_path, chat_model, monkeypatch):
    arguments = ["prompt", write(tmp_path, CHAT[1:2]), "--model", str(chat_model)]
    monkeypatch.setenv("HFDEMO_LANGUAGE", "ko")
    assert main(arguments) == 0
    assert "2048토큰 중" in capsys.readouterr().out.splitlines()[-1]
    assert main([*arguments, "--language", "en"]) == 0
    assert "tokens of 2048; 0 messages left out" in capsys.readouterr().out.splitlines()[-1]
    (empty := tmp_path / "empty").mkdir()
    assert "폴더가 비어 있습니다" in refusal(capsys, write(tmp_path, CHAT), "--model", str(empty), status=26)
    assert "메시지를 읽을 수 없습니다" in refusal(capsys, str(tmp_path / "nothing.json"), "--model", str(chat_model))
