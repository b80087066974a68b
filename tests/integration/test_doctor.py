"""Why a model can't be had is told apart case by case, by the running commands against a Hub that says no."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import save_file
from transformers import LlamaConfig

from tests import hub as stand_in
from tests.conftest import ROOT
from tests.hub import Hub, Model, serve

LLAMA_8B = json.dumps(
    {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    }
).encode()
BERT = json.dumps({"architectures": ["BertForMaskedLM"], "model_type": "bert"}).encode()
OWN_CODE = json.dumps(
    {"architectures": ["NewForCausalLM"], "model_type": "new", "auto_map": {"AutoModelForCausalLM": "new.New"}}
).encode()
SIGN_IN = "https://huggingface.co"


def config(**changes: object) -> bytes:
    return (
        LlamaConfig(
            architectures=["LlamaForCausalLM"],
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            vocab_size=64,
            **changes,
        )
        .to_json_string()
        .encode()
    )


@pytest.fixture(scope="module")
def hub(embedded_model: Path) -> Iterator[Hub]:
    tiny = {"config.json": config(), "model.safetensors": b"\2\0\0\0\0\0\0\0{}"}
    total = 8_030_261_248
    llama = {"parameters": {"BF16": total}, "total": total}
    models = {
        "org/open": Model(embedded_model),
        "org/gated": Model(tiny, gated="manual"),
        "org/disabled": Model(tiny, disabled=True),
        "org/hidden": Model(tiny, disabled=True, hides_info=False),
        "org/llama-8b": Model({"config.json": LLAMA_8B}, sizes={"model.safetensors": 2 * total}, safetensors=llama),
        "org/huge": Model({"config.json": LLAMA_8B}, sizes={"model.safetensors": 10**15}, safetensors=llama),
        "org/bert": Model({"config.json": BERT, "model.safetensors": b""}, pipeline_tag="fill-mask"),
        "org/code": Model({"config.json": OWN_CODE, "model.safetensors": b""}),
        "org/pickled": Model({"config.json": config(), "pytorch_model.bin": b""}),
        "org/ggufs": Model({"a-Q4_K_M.gguf": b"GGUF", "b.gguf": b"GGUF"}),
        "org/picture": Model({"model_index.json": b"{}"}, pipeline_tag="text-to-image"),
    }
    with serve(Hub(models)) as hub:
        yield hub


@dataclass
class Answer:
    status: int
    text: str


@pytest.fixture
def ask(hub: Hub, tmp_path: Path) -> Iterator:
    def run(command: str, *arguments: str, token: str | None = None, **environ: str) -> Answer:
        cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HFDEMO_"))}
        settings = cleared | hub.environ | {"HF_HOME": str(tmp_path / "home"), "LANG": "C.UTF-8"}
        settings |= {"HF_TOKEN": token} if token else {}
        ended = subprocess.run(
            [sys.executable, "-m", "hfdemo", command, *arguments],
            cwd=ROOT,
            env=settings | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        text = ended.stdout + ended.stderr
        assert "Traceback" not in text, text
        assert token is None or token not in text
        return Answer(ended.returncode, text)

    yield run
    hub.down = False
    hub.rate_limit(None)


TOKENS = f"{SIGN_IN}/settings/tokens"
CASES = {
    "1 gated, no token": ("org/gated", None, 11, [f"{SIGN_IN}/org/gated", TOKENS]),
    "2 gated, not asked": ("org/gated", stand_in.NOT_ASKED_TOKEN, 12, [f"{SIGN_IN}/org/gated"]),
    "3 gated, pending": ("org/gated", stand_in.PENDING_TOKEN, 13, [f"{SIGN_IN}/settings/gated-repos"]),
    "4 gated, rejected": ("org/gated", stand_in.REJECTED_TOKEN, 14, [f"{SIGN_IN}/settings/gated-repos"]),
    "5 gated, reset": ("org/gated", stand_in.RESET_TOKEN, 15, [f"{SIGN_IN}/org/gated"]),
    "6 fine-grained token": ("org/gated", stand_in.FINE_GRAINED_TOKEN, 16, [TOKENS]),
    "7 bad token": ("org/open", stand_in.BAD_TOKEN, 17, [TOKENS, "HF_TOKEN"]),
    "8 missing, no token": ("org/missing", None, 18, [f"{SIGN_IN}/org/missing", TOKENS]),
    "9 missing, good token": ("org/missing", stand_in.GOOD_TOKEN, 19, [f"{SIGN_IN}/org/missing"]),
    "10 no such revision": ("org/open@nope", None, 20, ["'nope'", f"{SIGN_IN}/org/open/refs"]),
    "10 no such file": ("org/open/no.gguf", None, 20, ["org/open"]),
    "11 disabled": ("org/disabled", stand_in.GOOD_TOKEN, 21, [f"{SIGN_IN}/org/disabled"]),
    "11 disabled, description open": ("org/hidden", None, 21, [f"{SIGN_IN}/org/hidden"]),
    "15 disk full": ("org/huge", None, 25, ["1000000.0 GB", "HF_HOME"]),
    "not made for text": ("org/bert", None, 26, ["fill-mask", f"{SIGN_IN}/models?pipeline_tag=text-generation"]),
    "a picture model": ("org/picture", None, 26, ["org/picture"]),
    "own code": ("org/code", None, 26, ["code of its own"]),
    "pickled": ("org/pickled", None, 26, ["HFDEMO_ALLOW_PICKLE=1"]),
    "GGUF files": ("org/ggufs", None, 26, ["org/ggufs/a-Q4_K_M.gguf", "b.gguf"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_told_with_its_next_step(ask, case):
    model, token, status, parts = CASES[case]
    answer = ask("doctor", model, token=token)
    assert answer.status == status, answer.text
    assert [part for part in parts if part not in answer.text] == [], answer.text


@pytest.mark.parametrize("case", ["1 gated, no token", "4 gated, rejected", "7 bad token", "9 missing, good token"])
def test_each_case_is_told_in_korean_too(ask, case):
    model, token, status, parts = CASES[case]
    answer = ask("doctor", model, "--language", "ko", token=token)
    assert answer.status == status
    assert [part for part in parts if part not in answer.text] == [], answer.text
    assert any("\uac00" <= letter <= "\ud7a3" for letter in answer.text.splitlines()[-1])


def test_each_case_has_a_text_of_its_own(ask):
    texts = {case: ask("check", CASES[case][0], token=CASES[case][1]).text for case in list(CASES)[:9]}
    assert len(set(texts.values())) == 9, texts


def test_a_rate_limit_is_told_with_the_seconds(ask, hub):
    hub.rate_limit(55)
    answer = ask("doctor", "org/open")
    assert (answer.status, "55 seconds" in answer.text, TOKENS in answer.text) == (22, True, True), answer.text


@pytest.mark.parametrize("down", ["503", "hangs up"])
def test_a_hub_that_is_down_is_told(ask, hub, down):
    hub.down = down
    assert ask("doctor", "org/open").status == (24 if down == "503" else 23)


def test_no_network_and_offline_mode_are_told(ask):
    assert ask("check", "org/open", HF_ENDPOINT="https://127.0.0.1:9").status == 23
    assert ask("check", "org/open", HF_HUB_OFFLINE="1").status == 23


def test_a_question_that_is_refused_once_is_asked_again(ask, hub):
    hub.refuse_once("/api/models/org/open")
    answer = ask("doctor", "org/open")
    assert answer.status == 0, answer.text
    assert hub.requests.count("GET /api/models/org/open") >= 2


def test_a_disk_that_cant_be_written_is_told(ask, tmp_path):
    (tmp_path / "file").write_text("no folder")
    answer = ask("doctor", "org/open", HF_HOME=str(tmp_path / "file"))
    assert answer.status == 25, answer.text
    assert "can't be written" in answer.text


def test_all_is_well_with_an_open_model_and_says_whose_the_token_is(ask):
    answer = ask("doctor", "org/open", token=stand_in.READ_TOKEN)
    assert answer.status == 0, answer.text
    for part in ("transformers ", "someone", "read", "HF_TOKEN", "free", "All is well"):
        assert part in answer.text
    assert ask("doctor", "org/gated", token=stand_in.GOOD_TOKEN).status == 0


def test_a_check_downloads_no_weights_and_tells_the_plan(ask, hub):
    hub.requests.clear()
    answer = ask("check", "org/llama-8b", "--json", "--context", "8192", "--quantize", "off")
    plan = json.loads(answer.text.splitlines()[0])
    assert plan["facts"]["parameters"] == 8_030_261_248
    assert plan["weights_bytes"] == 2 * 8_030_261_248 or plan["dtype"] == "float32"
    assert plan["cache_bytes"] == 8192 * 131_072 * (2 if plan["dtype"] == "float32" else 1)
    assert plan["download_bytes"] == 2 * 8_030_261_248  # the configuration was read, so that it is here already
    assert not [request for request in hub.requests if "safetensors" in request]
    assert answer.status == (0 if plan["fits"] else 25 if not plan["disk_fits"] else 27)


def test_a_model_too_big_is_told_before_the_download_with_what_would_fit(ask, tmp_path):
    big = json.loads(LLAMA_8B) | {"num_hidden_layers": 800}
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(big))
    import torch

    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    answer = ask("check", str(folder), "--quantize", "off")
    assert answer.status == 27, answer.text
    assert re.search("instead: .*(Qwen/Qwen3|SmolLM2)", answer.text)
