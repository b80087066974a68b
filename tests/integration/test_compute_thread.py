"""All of torch's work is done in one thread: a second one that ever computed would halve the speed of all."""

import json
from pathlib import Path

import pytest

from tests.conftest import run_program
from tests.integration.local import save_tiny_model

WATCHED = """
import json, sys
import torch
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile

everywhere = _ExperimentalConfig(profile_all_threads=True)
watch = profile(activities=[ProfilerActivity.CPU], experimental_config=everywhere)
watch.start()

from gradio_client import Client

from hfdemo.settings import Settings
from tests.integration.local import Local

# Kept weights, which a slow packing leaves, would be taken without packing and trying them.
local = Local(Settings(model=sys.argv[1], scheduling=sys.argv[2], packed_cache_gb=0))
local.load()
_, address, _ = local.page().launch(prevent_thread_lock=True, quiet=True)
client = Client(address, verbose=False)
jobs = [client.submit(question, max_new_tokens=8, api_name="/chat") for question in ("Say hello.", "Count to ten.")]
assert all(job.result(60) for job in jobs)
local.choose(sys.argv[1])
assert client.predict("And again?", max_new_tokens=8, api_name="/chat")

torch.ones(1)
watch.stop()
done = {}
for event in watch.profiler.kineto_results.events():
    if event.name().startswith("aten::"):
        done.setdefault(event.start_thread_id(), set()).add(event.name())
print(json.dumps([sorted(operations) for operations in done.values()]))
"""


COMPUTING = {
    "aten::_convert_weight_to_int4pack_for_cpu",
    "aten::_weight_int4pack_mm_for_cpu",
    "aten::layer_norm",
    "aten::max",
    "aten::embedding",
    "aten::linear",
    "aten::multinomial",
    "aten::scaled_dot_product_attention",
    "aten::softmax",
}
"""What packing, the step that records itself, reading a prompt and writing tokens do. transformers' own threads only
lay weights from the file where they belong, and how big a model is gets found out on the meta device."""


@pytest.fixture(scope="module")
def packed(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of sizes that its weights can be packed in."""
    sizes = {"hidden_size": 128, "intermediate_size": 256}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "packed", "llama", embedded_model, **sizes)


@pytest.mark.parametrize("engine", ["single", "batched"])
def test_importing_serving_loading_and_answering_compute_in_one_thread(engine: str, packed: Path) -> None:
    threads = json.loads(run_program(WATCHED, str(packed), engine).stdout.splitlines()[-1])
    in_main = ["aten::empty", "aten::fill_", "aten::ones"]  # the last line's own: it is seen, and nothing else
    assert threads.count(in_main) == 1
    computing = [set(operations) & COMPUTING for operations in threads if set(operations) & COMPUTING]
    assert computing == [COMPUTING]
