"""Where a model is put when it is loaded."""

from dataclasses import replace

import pytest
import torch

from hfdemo.models.load import _placement
from hfdemo.models.plan import Machine, make_plan, usual_facts

GB = 10**9
CPU = Machine(ram_free=12 * GB, disk_free=50 * GB, can_quantize=True)
GPU = replace(CPU, gpu_name="A", gpu_free=8 * GB, gpu_capability=(9, 0))


@pytest.mark.parametrize(
    ("machine", "parameters", "quantize", "way", "placement"),
    [
        (CPU, 10**9, "off", "cpu", {}),
        (CPU, 10**9, "4bit", "cpu", {"device_map": {"": torch.device("cpu")}}),
        (GPU, 10**9, "off", "gpu", {"device_map": {"": torch.device("cuda:0")}}),
        (GPU, 10**9, "8bit", "gpu", {"device_map": {"": torch.device("cuda:0")}}),
        (replace(GPU, platform="zerogpu"), 10**9, "off", "gpu", {}),
        (replace(CPU, mps=True), 10**9, "off", "mps", {}),
        (
            GPU,
            6 * 10**9,
            "off",
            "split",
            {"device_map": "auto", "max_memory": {0: 7_200_000_000, "cpu": 10_800_000_000}},
        ),
    ],
    ids=["cpu", "cpu 4 bit", "gpu", "gpu 8 bit", "zerogpu", "mps", "split"],
)
def test_a_model_goes_straight_to_the_device_where_that_is_known_to_work(
    machine, parameters, quantize, way, placement
):
    plan = make_plan(usual_facts("org/m", parameters), machine, quantize=quantize)
    assert plan.way == way
    assert _placement(plan) == placement
