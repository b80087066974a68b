"""The private names of these libraries exist, do what we rely on, and are used in one file each.

Whoever upgrades one of the libraries looks here first.
"""

import re
import threading
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from huggingface_hub import HfApi, hf_hub_download, is_offline_mode
from torch import nn
from transformers import AutoModelForCausalLM, DynamicCache, GenerationConfig
from transformers.utils import logging as transformers_logging

from hfdemo.compute import torch_private, transformers_private
from hfdemo.compute.torch_private import copy_each, forget_recorded_modules, multiply_by_int4, pack_int4
from hfdemo.compute.transformers_private import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    WEIGHTS_BAR,
    Cache,
    Conv1D,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    attention_of,
    choose_attention_freely,
    set_tqdm_hook,
    takes_dynamic_cache,
    usual_generation_values,
)
from hfdemo.models import gguf_private, hub_private
from hfdemo.models.gguf_private import QuickGgufReader
from hfdemo.models.hub_private import (
    WeakFileLock,
    are_symlinks_supported,
    build_hf_headers,
    constants,
    http_get,
    parse_ratelimit_headers,
    repo_folder_name,
    write_in_chunks_of,
)
from tests.conftest import ROOT
from tests.hub import Hub, Model, serve
from tests.unit.tiny_models import tiny_model

PRIVATE = {
    torch_private: r"torch\.(?:_|ops\.|jit\._)|\b_foreach_|int4pack|\._(?:modules|parameters|buffers)\b",
    transformers_private: r"transformers\.(?:cache_utils|pytorch_utils|models\.)|_supports_default|_attn_impl"
    r"|_get_default|transformers\.utils\.logging import .*set_tqdm_hook",
    gguf_private: r"_get_field_parts|gguf_scalar_to_np|gguf\.GGUFReader\b",
    hub_private: r"huggingface_hub\.(?!errors\b|utils\b)\w+|huggingface_hub import .*\bconstants"
    r"|huggingface_hub\.utils import .*(?:WeakFileLock|build_hf_headers|parse_ratelimit)|DOWNLOAD_CHUNK_SIZE =",
}
"""How private names look in the code, by the only file that may use them."""


@pytest.mark.parametrize("home", PRIVATE, ids=lambda module: module.__name__)
def test_only_one_file_uses_a_librarys_private_names(home):
    pattern = re.compile(PRIVATE[home])
    assert pattern.search(Path(home.__file__).read_text("utf-8"))
    for path in sorted((ROOT / "hfdemo").rglob("*.py")):
        code = re.sub(r'""".*?"""', "", path.read_text("utf-8"), flags=re.S)
        assert path == Path(home.__file__) or not pattern.search(code), path


def test_torch_multiplies_by_weights_packed_into_4_bit():
    numbers = torch.randint(0, 16, (32, 64), dtype=torch.int32)
    steps, middles = torch.rand(2, 2, 32) + 0.5  # of shape [inputs / 32, outputs]
    rows = torch.randn(3, 64).bfloat16()
    found = multiply_by_int4(rows, pack_int4(numbers, 2), 32, torch.stack([steps, middles], -1).bfloat16())
    groups = numbers.view(32, 2, 32) - 8
    weight = groups * steps.T[..., None] + middles.T[..., None]
    expected = rows.float() @ weight.view(32, 64).T
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).norm() < 0.02 * expected.norm()


def test_torch_copies_into_views():
    whole = torch.zeros(2, 3)
    copy_each([whole[:, 0], whole[0, 1:]], [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])])
    assert whole.tolist() == [[1, 3, 4], [2, 0, 0]]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_forgets_what_it_recorded_and_records_again():
    def record() -> str:
        module = nn.Linear(2, 3)
        recorded = torch.jit.trace_module(module, {"forward": torch.ones(1, 2)})
        assert torch.equal(recorded(torch.zeros(1, 2)), module(torch.zeros(1, 2)))
        return str(recorded._c._type())

    forget_recorded_modules()
    first = record()
    torch.jit.script(nn.Linear(2, 3))
    store = torch.jit._recursive.concrete_type_store
    assert record() != first, "the first one still has its name"
    assert len(store.type_store) > 0
    forget_recorded_modules()
    assert record() == first
    assert torch.jit._recursive.concrete_type_store is not store


def test_transformers_lists_the_kinds_of_models_that_write():
    assert MODEL_FOR_CAUSAL_LM_MAPPING_NAMES["llama"] == "LlamaForCausalLM"
    assert "vit" not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    assert MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES["bart"] == "BartForConditionalGeneration"
    assert MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES["whisper"] == "WhisperForConditionalGeneration"


def test_transformers_caches_keys_and_values_in_these_kinds_of_layers():
    plain = DynamicCache(config=tiny_model("llama").config).layers
    assert {type(layer) for layer in plain} == {DynamicLayer}
    windowed = DynamicCache(config=tiny_model("mistral", sliding_window=16).config).layers
    assert {type(layer) for layer in windowed} == {DynamicSlidingWindowLayer}
    assert {layer.sliding_window for layer in windowed} == {16}


def test_transformers_calls_the_layers_of_a_cache_by_these_methods():
    class Layer(DynamicLayer):
        def update(self, key_states, value_states, *args, **kwargs):
            calls.append(key_states.shape)
            self.is_initialized = True
            return key_states, value_states

        def get_seq_length(self) -> int:
            return 0

    calls: list[torch.Size] = []
    model = tiny_model("llama")
    ids = torch.arange(5)[None]
    logits = model(ids, cache=Cache(layers=[Layer() for _ in range(3)]), use_cache=True).logits
    assert calls == [(1, 2, 5, 16)] * 3  # chat, heads of keys, tokens, head size
    torch.testing.assert_close(logits, model(ids).logits)


def test_transformers_says_which_models_take_a_dynamic_cache():
    assert takes_dynamic_cache(tiny_model("llama"))
    assert not takes_dynamic_cache(tiny_model("rwkv", attention_hidden_size=64, context_length=64))


def test_transformers_says_what_a_generation_config_does_by_itself():
    usual = usual_generation_values()
    assert (usual["num_beams"], usual["typical_p"], usual["min_length"]) == (1, 1.0, 0)
    assert set(GenerationConfig().to_dict()) <= set(usual) and usual["forced_eos_token_id"] is None


def test_transformers_says_how_attention_is_computed():
    model = tiny_model("llama")
    assert attention_of(model.config) == "sdpa"
    model.set_attn_implementation("eager")
    assert attention_of(model.config) == "eager"
    assert attention_of(object()) == ""
    choose_attention_freely(model.config)
    assert attention_of(model.config) == ""


def test_transformers_has_linear_layers_of_its_own_in_old_models():
    assert any(type(module) is Conv1D for module in tiny_model("gpt2").modules())


def test_transformers_loads_each_weight_through_the_hook(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    seen: list[int] = []

    def hook(factory, args, options):
        if options.get("desc") == WEIGHTS_BAR:
            seen.append(len(args[0]))
        return factory(*args, **options)

    transformers_logging.disable_progress_bar()
    assert set_tqdm_hook(hook) is None
    try:
        AutoModelForCausalLM.from_pretrained(tmp_path)
    finally:
        assert set_tqdm_hook(None) is hook
    assert sum(seen) > 20


CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serve(Hub({"org/tiny": Model({"config.json": b"{}", "model.safetensors": CONTENT})})) as served:
        monkeypatch.setenv("SSL_CERT_FILE", served.environ["SSL_CERT_FILE"])
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        yield served


def test_the_hubs_client_starts_in_the_middle_of_a_file_and_writes_in_chunks(hub, monkeypatch, tmp_path):
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", constants.DOWNLOAD_CHUNK_SIZE)  # put back afterwards
    write_in_chunks_of(1000)
    sizes: list[int] = []

    class Bar:
        def __init__(self, *args, **options) -> None:
            assert options["initial"] == 56_000

        def __enter__(self):
            return self

        def __exit__(self, *_) -> None:
            pass

        def update(self, count: int) -> None:
            sizes.append(count)

    close_session()
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENT[:56_000])
    with path.open("ab") as output:
        http_get(
            f"{hub.url}/org/tiny/resolve/main/model.safetensors",
            output,
            resume_size=56_000,
            headers=build_hf_headers(token=False) | {"accept-encoding": "identity"},
            expected_size=len(CONTENT),
            tqdm_class=Bar,
        )
    close_session()
    assert path.read_bytes() == CONTENT
    assert sum(sizes) == len(CONTENT) - 56_000 and max(sizes) <= 1000


def test_the_hubs_client_keeps_files_in_these_folders(hub, tmp_path):
    from huggingface_hub.utils import close_session

    close_session()
    file = hf_hub_download("org/tiny", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path, token=False)
    info = HfApi(endpoint=hub.url, token=False).model_info("org/tiny", files_metadata=True)
    close_session()
    sha256 = next(sibling.lfs.sha256 for sibling in info.siblings if sibling.lfs)
    folder = tmp_path / repo_folder_name(repo_id="org/tiny", repo_type="model")
    assert Path(file) == folder / "snapshots" / info.sha / "model.safetensors"
    assert Path(file).resolve() == (folder / "blobs" / sha256).resolve()
    assert (tmp_path / ".locks" / folder.name / f"{sha256}.lock").exists()


def test_the_hubs_client_says_whether_its_cache_has_links(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert are_symlinks_supported()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    assert not are_symlinks_supported()


def test_the_hubs_client_sends_the_token_it_is_given_and_none_if_it_must_not():
    assert build_hf_headers(token="hf_secret")["authorization"] == "Bearer hf_secret"
    assert "authorization" not in build_hf_headers(token=False)


def test_the_hubs_client_locks_a_file_for_one_at_a_time(tmp_path):
    order: list[str] = []

    def wait() -> None:
        with WeakFileLock(tmp_path / "lock"):
            order.append("second")

    with WeakFileLock(tmp_path / "lock"):
        other = threading.Thread(target=wait)
        other.start()
        other.join(0.2)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_the_hubs_client_reads_how_long_to_wait():
    headers = {"ratelimit": '"api";r=0;t=55', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}
    assert parse_ratelimit_headers(headers).reset_in_seconds == 55
    assert parse_ratelimit_headers({}) is None


def test_the_hubs_client_has_these_settings(monkeypatch):
    for name in ("ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
        assert isinstance(getattr(constants, name), str), name
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert is_offline_mode()


@pytest.mark.parametrize("kind", ["u8", "i32", "f32", "bool", "texts"])
def test_gguf_reads_arrays_by_this_method(tmp_path, kind):
    arrays = {"u8": [1, 2], "i32": [-1, 70_000], "f32": [0.5, 2.5], "bool": [True, False], "texts": ["가", ""]}
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_string("before", "begin")
    writer.add_array("numbers", arrays[kind])
    writer.add_string("after", "end")
    writer.add_tensor("t", torch.ones(3).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    quick, usual = QuickGgufReader(tmp_path / "m.gguf"), GGUFReader(tmp_path / "m.gguf")
    assert list(quick.fields) == list(usual.fields)
    assert quick.fields["before"].contents() == "begin" and quick.fields["after"].contents() == "end"
    assert [(t.name, t.data.tolist()) for t in quick.tensors] == [("t", [1, 1, 1])]
    found, expected = quick.fields["numbers"], usual.fields["numbers"]
    if kind == "texts":
        assert len(found.data) == 2
    else:
        assert [found.parts[i][0] for i in found.data] == [expected.parts[i][0] for i in expected.data]
        assert found.types == expected.types
