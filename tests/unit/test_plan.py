"""Will it fit: plans for well-known models on well-known machines."""

import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import get_args

import pytest

from hfdemo.models.memory import cache_bytes
from hfdemo.models.plan import (
    USUAL_CONTEXT,
    Machine,
    ModelFacts,
    Plan,
    Speed,
    Way,
    choose_dtype_name,
    estimate_fits,
    make_plan,
    usual_facts,
)
from hfdemo.models.plan_text import card_lines
from hfdemo.models.speed import SPEEDS
from hfdemo.words import LANGUAGES
from tests.unit.known_models import GB, KNOWN

T4 = Machine(
    platform="colab",
    ram_free=11 * GB,
    ram_total=13 * GB,
    disk_free=70 * GB,
    gpu_name="Tesla T4",
    gpu_free=15 * GB,
    gpu_capability=(7, 5),
    cpu_dtype="float32",
    bytes_per_s=240e9,
    can_quantize=True,
)
LAPTOP = Machine(ram_free=12 * GB, ram_total=16 * GB, disk_free=200 * GB, bytes_per_s=30e9)
H100 = Machine(
    ram_free=120 * GB,
    ram_total=128 * GB,
    disk_free=500 * GB,
    gpu_name="NVIDIA H100",
    gpu_free=80 * GB,
    gpu_capability=(9, 0),
    bytes_per_s=2.5e12,
    can_quantize=True,
)
RTX4090 = replace(H100, ram_free=56 * GB, ram_total=64 * GB, gpu_name="RTX 4090", gpu_free=24 * GB, bytes_per_s=750e9)
MAC = Machine(ram_free=12 * GB, ram_total=16 * GB, disk_free=100 * GB, mps=True, bytes_per_s=100e9)
ZEROGPU = Machine(
    platform="zerogpu",
    ram_free=60 * GB,
    disk_free=50 * GB,
    gpu_name="ZeroGPU",
    gpu_free=48 * GB,
    gpu_capability=(12, 0),
)


@cache
def known_facts(name: str) -> ModelFacts:
    """Return the facts of a well-known model that is still to be downloaded."""
    from tests.unit.test_facts import facts_of

    return facts_of(KNOWN[name], name)


LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.1-70B-Instruct"
QWEN_4B = "Qwen/Qwen3-4B-Instruct-2507"
QWEN_SMALL = "Qwen/Qwen3-0.6B"
GEMMA_2B = "google/gemma-2-2b-it"
GPT_OSS = "openai/gpt-oss-20b"


@pytest.mark.parametrize(
    ("name", "machine", "way", "dtype", "bits"),
    [
        (QWEN_SMALL, T4, "gpu", "float16", None),
        (QWEN_4B, T4, "gpu", "float16", None),
        (LLAMA_8B, T4, "gpu", "float16", "8bit"),
        (LLAMA_8B, replace(T4, can_quantize=False), "split", "float16", None),
        (LLAMA_70B, T4, "none", "float16", "4bit"),
        (GEMMA_2B, T4, "gpu", "bfloat16", None),
        ("google/gemma-3-4b-it", T4, "gpu", "bfloat16", None),
        (QWEN_SMALL, LAPTOP, "cpu", "bfloat16", None),
        (QWEN_4B, LAPTOP, "cpu", "bfloat16", None),
        (QWEN_4B, replace(LAPTOP, cpu_dtype="float32"), "none", "float32", None),
        (LLAMA_8B, LAPTOP, "none", "bfloat16", None),
        (LLAMA_8B, replace(LAPTOP, ram_free=13 * GB, can_quantize=True), "cpu", "bfloat16", "8bit"),
        (LLAMA_8B, MAC, "none", "float16", None),
        (QWEN_4B, MAC, "mps", "float16", None),
        (GEMMA_2B, MAC, "mps", "bfloat16", None),
        (LLAMA_8B, H100, "gpu", "bfloat16", None),
        (LLAMA_70B, H100, "gpu", "bfloat16", "4bit"),
        (LLAMA_70B, replace(H100, gpu_free=90 * GB), "gpu", "bfloat16", "8bit"),
        (LLAMA_70B, replace(H100, gpu_free=48 * GB), "gpu", "bfloat16", "4bit"),
        ("Qwen/Qwen3-30B-A3B", H100, "gpu", "bfloat16", None),
        (GPT_OSS, RTX4090, "split", "bfloat16", None),
        (LLAMA_70B, ZEROGPU, "none", "bfloat16", None),
        (LLAMA_8B, ZEROGPU, "gpu", "bfloat16", None),
    ],
)
def test_plans(name, machine, way, dtype, bits):
    plan = make_plan(known_facts(name), machine)
    assert (plan.way, plan.dtype, plan.quantize) == (way, dtype, bits)
    assert plan.fits == (way != "none")
    assert bool(plan.instead) == (way == "none")
    if way != "none":
        assert plan.needed_bytes <= plan.free_bytes


def test_a_70b_model_on_a_24_gb_card():
    plan = make_plan(known_facts(LLAMA_70B), RTX4090)
    assert (plan.way, plan.quantize, plan.speed) == ("cpu", "4bit", "very_slow")
    plan = make_plan(known_facts(LLAMA_70B), replace(RTX4090, ram_free=28 * GB))
    assert plan.way == "none"
    assert plan.instead == (
        "kakaocorp/kanana-1.5-8b-instruct-2505",
        "Qwen/Qwen3-4B-Instruct-2507",
        "kakaocorp/kanana-1.5-2.1b-instruct-2505",
    )
    split = make_plan(known_facts(LLAMA_70B), replace(RTX4090, ram_free=160 * GB), quantize="off")
    assert split.way == "split"
    assert split.free_bytes == 184 * GB
    assert split.speed == "very_slow"


def test_the_numbers_of_a_plan():
    plan = make_plan(known_facts(LLAMA_8B), H100, context=8192)
    assert plan.weights_bytes == 16_060_522_496
    assert plan.cache_bytes == 2**30
    vectors = 8192 * (4 * 4096 + 3 * 14336) * 2
    assert plan.activation_bytes == vectors + int(0.3 * (vectors + 2**30))
    assert plan.program_bytes == 400_000_000
    assert plan.needed_bytes == plan.weights_bytes + plan.cache_bytes + plan.activation_bytes + plan.program_bytes
    assert plan.free_bytes == 80 * GB
    assert plan.download_bytes == 16_060_522_496 + 700
    assert plan.download_s == pytest.approx(1284.8, abs=0.1)
    assert plan.disk_fits
    assert 15 < plan.tokens_per_s < 60
    assert plan.speed == "fast"


def test_the_program_counts_on_the_cpu():
    plan = make_plan(known_facts(QWEN_SMALL), LAPTOP)
    assert plan.program_bytes == 460_000_000 + 900 * 151936
    packing = make_plan(known_facts(QWEN_SMALL), replace(LAPTOP, can_quantize=True))
    assert packing.program_bytes - plan.program_bytes == 45_000_000


def test_4_bit_packs_the_layers_only():
    plan = make_plan(known_facts(LLAMA_8B), T4, quantize="4bit")
    assert (plan.way, plan.quantize) == ("gpu", "4bit")
    embeddings_and_norms = 2 * 128256 * 4096 + 65 * 4096
    packed = 8_030_261_248 - embeddings_and_norms
    assert plan.weights_bytes == pytest.approx(2 * embeddings_and_norms + 0.51587 * packed, rel=1e-4)


@pytest.mark.parametrize("asked", ["8bit", "4bit"])
def test_what_is_asked_for_is_kept_to(asked):
    assert make_plan(known_facts(QWEN_SMALL), H100, quantize=asked).quantize == asked
    assert make_plan(known_facts(QWEN_SMALL), LAPTOP, quantize=asked).quantize == asked
    assert make_plan(known_facts(GPT_OSS), H100, quantize=asked).quantize is None  # it is packed already


def test_off_never_packs():
    assert make_plan(known_facts(LLAMA_8B), T4, quantize="off").way == "split"
    assert make_plan(known_facts(LLAMA_70B), T4, quantize="off").quantize is None


def test_families_that_overflow_in_float16_are_not_packed_in_8_bit():
    facts = replace(known_facts(LLAMA_8B), model_type="gemma2")
    assert make_plan(facts, T4).quantize == "4bit"


def test_experts_are_not_packed():
    """30 billion parameters in 4 bit would need 16 GB, but bitsandbytes leaves the experts as they are."""
    plan = make_plan(known_facts("Qwen/Qwen3-30B-A3B"), replace(RTX4090, ram_free=8 * GB))
    assert plan.way == "none"
    assert plan.weights_bytes > 58 * GB


def test_a_mixture_of_experts_is_as_fast_as_its_active_part():
    plan = make_plan(known_facts("Qwen/Qwen3-30B-A3B"), H100)
    dense = make_plan(replace(known_facts("Qwen/Qwen3-30B-A3B"), active_share=1.0), H100)
    assert plan.tokens_per_s > 1.2 * dense.tokens_per_s


def test_gguf_files_are_unpacked():
    facts = replace(usual_facts("m", 8 * GB), gguf=True, stored_bytes=5 * GB)
    plan = make_plan(facts, H100)
    assert plan.weights_bytes == 16 * GB
    assert make_plan(facts, T4).quantize is None


@pytest.mark.parametrize(
    ("packing", "machine", "packed"),
    [
        ("awq", T4, True),
        ("gptq", T4, True),
        ("bitsandbytes", T4, True),
        ("fp8", H100, True),
        ("fp8", T4, False),
        ("fp8", LAPTOP, False),
        ("mxfp4", H100, False),
    ],
)
def test_stored_packed(packing, machine, packed):
    facts = replace(usual_facts("m", 4 * GB), own_quantization=packing, stored_bytes=3 * GB)
    assert make_plan(facts, machine).weights_bytes == (3 * GB if packed else 8 * GB)


def test_attention_that_makes_the_whole_matrix_needs_room_for_it():
    plan = make_plan(known_facts(GEMMA_2B), H100, context=8192)
    plain = make_plan(replace(known_facts(GEMMA_2B), eager_attention=False), H100, context=8192)
    assert plan.activation_bytes - plain.activation_bytes == pytest.approx(1.3 * 5 * 8 * 8192**2 * 2)


@pytest.mark.parametrize(
    ("limit", "asked", "planned"),
    [(131072, None, USUAL_CONTEXT), (2048, None, 2048), (131072, 20000, 20000), (2048, 20000, 2048), (None, 99, 99)],
)
def test_the_context(limit, asked, planned):
    plan = make_plan(replace(usual_facts("m", GB), context_limit=limit), H100, asked)
    assert plan.context == planned


def test_a_long_context_may_be_what_does_not_fit():
    facts = known_facts(LLAMA_8B)
    assert make_plan(facts, replace(H100, gpu_free=24 * GB)).quantize is None
    assert make_plan(facts, replace(H100, gpu_free=24 * GB), 32768).quantize == "8bit"


def test_a_tenth_of_the_memory_is_left():
    facts = known_facts(QWEN_SMALL)
    needed = make_plan(facts, LAPTOP).needed_bytes
    assert make_plan(facts, replace(LAPTOP, ram_free=int(needed / 0.9) + 10)).fits
    assert not make_plan(facts, replace(LAPTOP, ram_free=int(needed / 0.91))).fits


def test_the_disk_is_too_small():
    plan = make_plan(known_facts(QWEN_4B), replace(H100, disk_free=8 * GB))
    assert plan.way == "gpu"
    assert not plan.disk_fits
    assert not plan.fits
    assert plan.instead[0] == "kakaocorp/kanana-1.5-2.1b-instruct-2505"
    here = make_plan(replace(known_facts(QWEN_4B), download_bytes=0), replace(H100, disk_free=0))
    assert here.fits


def test_nothing_fits_a_machine_without_memory():
    plan = make_plan(known_facts("HuggingFaceTB/SmolLM2-135M-Instruct"), Machine())
    assert (plan.way, plan.instead) == ("none", ())


def test_what_is_offered_instead_fits():
    for machine in (T4, LAPTOP, replace(LAPTOP, ram_free=3 * GB), replace(LAPTOP, ram_free=1_300_000_000), ZEROGPU):
        plan = make_plan(known_facts(LLAMA_70B), machine)
        assert 1 <= len(plan.instead) <= 3
        for name in set(plan.instead) & set(KNOWN):
            assert make_plan(known_facts(name), machine).fits, name


@pytest.mark.parametrize(
    ("family", "machine", "dtype"),
    [
        ("llama", H100, "bfloat16"),
        ("llama", T4, "float16"),
        ("llama", MAC, "float16"),
        ("llama", LAPTOP, "bfloat16"),
        ("llama", replace(LAPTOP, cpu_dtype="float32"), "float32"),
        ("gemma", T4, "float16"),
        *[(family, T4, "bfloat16") for family in ("gemma2", "gemma3", "gemma3_text", "gemma3n_text", "gemma4_text")],
        ("gemma3_text", MAC, "bfloat16"),
        ("", ZEROGPU, "bfloat16"),
    ],
)
def test_the_type_of_numbers(family, machine, dtype):
    assert choose_dtype_name(family, machine) == dtype


@pytest.mark.parametrize(
    ("parameters", "machine", "fits"),
    [
        (596_049_920, LAPTOP, True),
        (8_030_261_248, LAPTOP, False),
        (8_030_261_248, T4, True),
        (14_770_033_664, T4, True),
        (32_763_876_352, T4, False),
        (70_553_706_496, H100, True),
        (405_853_388_800, H100, False),
        (0, LAPTOP, True),
    ],
)
def test_an_estimate_by_the_number_of_parameters(parameters, machine, fits):
    assert estimate_fits(parameters, machine) is fits


QWEN_4B_LINEARS = 3_633_315_840
"""36 layers: 2560 to 4096 and 2 x 1024 for attention, 4096 back, 3 x 2560 x 9728 for the feed-forward part."""

QWEN_4B_HEAD = 151_936 * 2560


@pytest.mark.parametrize(
    ("cpu_weights", "bytes_of_a_weight"), [("bf16", None), ("int8", 1.125), ("int4", 0.625), ("auto", 1.125)]
)
def test_weights_packed_for_the_cpu_are_counted_in_place_of_the_others(cpu_weights, bytes_of_a_weight):
    plain = make_plan(known_facts(QWEN_4B), replace(LAPTOP, ram_free=24 * GB))
    plan = make_plan(known_facts(QWEN_4B), replace(LAPTOP, ram_free=24 * GB), cpu_weights=cpu_weights)
    packed = int(QWEN_4B_LINEARS * bytes_of_a_weight + QWEN_4B_HEAD * 1.125) if bytes_of_a_weight else 0
    unpacked = 2 * (QWEN_4B_LINEARS + QWEN_4B_HEAD) if bytes_of_a_weight else 0
    assert plan.weights_bytes == plain.weights_bytes - unpacked + packed and plan.cpu_weights == cpu_weights
    assert plan.needed_bytes == plain.needed_bytes - unpacked + packed
    assert (plan.tokens_per_s > 1.4 * plain.tokens_per_s) == (cpu_weights != "bf16")


def test_an_embedding_apart_from_the_head_is_packed_too_where_the_fast_step_reads_it():
    facts = replace(known_facts(QWEN_4B), parameters=known_facts(QWEN_4B).parameters + QWEN_4B_HEAD)
    machine = replace(LAPTOP, ram_free=24 * GB)
    bytes_of = {
        model_type: make_plan(replace(facts, model_type=model_type), machine, cpu_weights="int8").weights_bytes
        for model_type in ("qwen3", "another")
    }
    assert bytes_of["another"] - bytes_of["qwen3"] == QWEN_4B_HEAD * 2 - int(QWEN_4B_HEAD * 1.125)


def test_an_embedding_that_is_the_head_stays_beside_it_where_the_model_itself_reads_it():
    machine = replace(LAPTOP, ram_free=24 * GB)
    fast = make_plan(known_facts(QWEN_4B), machine, cpu_weights="int8")
    slow = make_plan(replace(known_facts(QWEN_4B), model_type="another"), machine, cpu_weights="int8")
    assert slow.weights_bytes - fast.weights_bytes == QWEN_4B_HEAD * 2


@pytest.mark.parametrize(
    ("gigabytes", "pays", "found"),
    [
        (24, True, "auto"),
        (24, False, "bf16"),
        (8, True, "auto"),
        (8, False, "auto"),
        (5.2, True, "int4"),
        (3, True, None),
    ],
)
def test_with_less_room_a_model_runs_in_fewer_bits(gigabytes, pays, found):
    machine = replace(LAPTOP, ram_free=int(gigabytes * GB), packing_pays=pays)
    plan = make_plan(known_facts(QWEN_4B), machine, cpu_weights="auto", context=1024)
    assert (plan.cpu_weights if plan.way == "cpu" else None) == found
    if found in ("auto", "int4"):
        assert ("8-bit" if found == "auto" else "4-bit") in str(card_lines(plan, "en"))


@pytest.mark.parametrize(
    ("stored", "kind", "in_parts"),
    [("bf16", "qwen3", True), ("f32", "qwen3", False), ("q4", "qwen3", True), ("q4", "cohere", False)],
)
def test_what_loading_takes_beside_what_stays_is_planned_unless_weights_are_read_in_parts(stored, kind, in_parts):
    facts = replace(known_facts(QWEN_4B), gguf=stored == "q4", model_type=kind)
    facts = replace(facts, stored_bytes={"bf16": 2, "f32": 4, "q4": 0.6}[stored] * facts.parameters)
    machine = replace(LAPTOP, ram_free=40 * GB)
    packed, plain = (make_plan(facts, machine, cpu_weights=wanted) for wanted in ("int8", "bf16"))
    at_load = packed.weights_bytes + packed.activation_bytes
    assert (at_load < plain.weights_bytes) == in_parts


@pytest.mark.parametrize(
    ("bits", "wanted", "packed_as", "bytes_of_one"),
    [
        (4.85, "auto", "auto", 0.70),  # Q4_K_M: some of them have 6 bits
        (5.7, "auto", "auto", 0.92),
        (8.5, "auto", "auto", 1.125),
        (16, "auto", "auto", 1.125),
        (3.9, "auto", "int4", 0.625),
        (3.9, "int8", "int8", 1.125),
    ],
)
def test_a_gguf_file_is_packed_in_about_as_many_bits_as_it_has(bits, wanted, packed_as, bytes_of_one):
    known = known_facts(LLAMA_8B)
    facts = replace(known, gguf=True, model_type="llama", stored_bytes=int(bits * known.parameters / 8))
    plan = make_plan(facts, replace(LAPTOP, ram_free=40 * GB), cpu_weights=wanted)
    embeddings = (1.125 + (0.625 if bits < 4 else bytes_of_one)) * facts.vocabulary * facts.hidden
    assert (plan.way, plan.cpu_weights) == ("cpu", packed_as)
    assert plan.weights_bytes == pytest.approx(bytes_of_one * facts.packable_parameters + embeddings, rel=0.02)


def test_an_8b_file_in_4_bit_answers_in_7_gb():
    known = known_facts(LLAMA_8B)
    facts = replace(known, gguf=True, model_type="llama", stored_bytes=4_920_000_000)
    plan = make_plan(facts, replace(LAPTOP, ram_free=int(7.9 * GB)), context=2048, cpu_weights="auto")
    assert plan.way == "cpu" and plan.needed_bytes < 7e9


@pytest.mark.parametrize(("asked", "found"), [("auto", "bf16"), ("int8", "int8"), ("int4", "int4")])
def test_weights_are_packed_where_that_is_slower_only_if_it_is_asked_for(asked, found):
    machine = replace(LAPTOP, ram_free=24 * GB, packing_pays=False)
    plan = make_plan(known_facts(QWEN_4B), machine, cpu_weights=asked)
    assert plan.cpu_weights == found


@pytest.mark.parametrize(("name", "machine"), [(QWEN_4B, H100), (QWEN_4B, MAC), (QWEN_4B, ZEROGPU)])
def test_weights_are_packed_on_a_cpu_only(name, machine):
    assert make_plan(known_facts(name), machine, cpu_weights="auto").cpu_weights == "bf16"


@pytest.mark.parametrize(("gigabytes", "chats"), [(20, 1), (24, 6), (40, 27), (80, 32)])
def test_so_many_chats_at_one_time_as_there_is_room_for_long_ones(gigabytes, chats):
    plan = make_plan(known_facts(LLAMA_8B), replace(H100, gpu_free=gigabytes * GB), context=4096)
    assert plan.way == "gpu" and plan.chats == chats
    others = (chats - 1) * 1.3 * 2**29  # of 4096 tokens with 128 KiB each
    spare = 0.9 * plan.free_bytes - plan.needed_bytes - others
    assert spare >= 0 and (spare < 1.3 * 2**29 or chats == 32)


@pytest.mark.parametrize(("spare_mb", "prefixes_mb"), [(10_000, 512), (512, 512), (100, 100), (1, 1)])
def test_the_prefix_cache_gets_what_there_is_room_for(spare_mb, prefixes_mb):
    needed = make_plan(known_facts(QWEN_4B), LAPTOP, quantize="off").needed_bytes
    machine = replace(LAPTOP, ram_free=int((needed + spare_mb * 2**20) / 0.9) + 2)
    plan = make_plan(known_facts(QWEN_4B), machine, quantize="off", prefix_cache_bytes=512 * 2**20, batched=False)
    assert plan.way == "cpu" and plan.chats == 1
    assert plan.prefix_bytes == pytest.approx(prefixes_mb * 2**20, abs=3)
    assert plan.most_bytes == plan.needed_bytes + plan.prefix_bytes <= 0.9 * plan.free_bytes


def test_the_most_memory_counts_every_chat_and_the_prefix_cache():
    machine = replace(H100, gpu_free=40 * GB)
    plan = make_plan(known_facts(LLAMA_8B), machine, context=4096, prefix_cache_bytes=2**30)
    without = make_plan(known_facts(LLAMA_8B), machine, context=4096)
    assert plan.needed_bytes == without.needed_bytes
    assert 1 < plan.chats < without.chats
    others = (plan.chats - 1) * int(1.3 * 2**29)
    assert plan.most_bytes == plan.needed_bytes + 2**30 + others <= 0.9 * plan.free_bytes


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if not known.stored_bytes])
def test_the_estimate_is_near_the_plan(name):
    """What isn't known of a model is guessed from its size: the memory it needs, within a quarter."""
    facts = known_facts(name)
    needed = make_plan(facts, H100, quantize="off").needed_bytes
    assert make_plan(usual_facts(name, facts.parameters), H100, quantize="off").needed_bytes == pytest.approx(
        needed, rel=0.25
    )


def card(plan: Plan, language: str = "en") -> dict[str, str]:
    return dict(card_lines(plan, language))


def test_a_card():
    assert card(make_plan(known_facts(QWEN_4B), T4)) == {
        "Parameters": "4.02B",
        "Memory": "Needs 9.6 GB, 15.0 GB free (8.0 GB for the weights, 604 MB for 4096 tokens of chat, 1.0 GB for the"
        " program and its computation); at most 12.8 GB with cached prompts (0 MB) and chats at once (5)",
        "How it runs": "Entirely on the GPU Tesla T4, in float16",
        "Download": "8.0 GB, about 1 min at 800 Mbit/s",
        "Disk": "Enough space, 70.0 GB free",
        "Speed": "About 15 tokens/s: faster than you read",
    }


def test_a_card_of_what_does_not_fit():
    shown = card(make_plan(known_facts(LLAMA_8B), replace(LAPTOP, disk_free=5 * GB)))
    assert shown["How it runs"] == "It does not run: there is not enough memory, even in bfloat16"
    assert shown["Download"] == "16.1 GB, about 21 min at 100 Mbit/s"
    assert shown["Disk"] == "Not enough space, only 5.0 GB free"
    assert shown["Models that fit"] == ("kakaocorp/kanana-1.5-2.1b-instruct-2505, Qwen/Qwen3-1.7B, Qwen/Qwen3-0.6B")
    assert "Speed" not in shown


def test_a_card_in_korean():
    shown = card(make_plan(known_facts(LLAMA_8B), T4), "ko")
    assert shown["파라미터"] == "8.03B"
    assert shown["실행 방법"] == "전부 GPU(Tesla T4)에서 실행, 8비트"
    assert "4096토큰" in shown["메모리"]


def test_a_card_of_a_model_that_is_here():
    shown = card(make_plan(replace(known_facts(QWEN_SMALL), download_bytes=0), LAPTOP))
    assert shown["Download"] == "None: it is already on this machine"
    assert "Disk" not in shown
    assert shown["Parameters"] == "596M"


def test_a_short_download():
    facts = replace(known_facts(QWEN_SMALL), download_bytes=300_000_000)
    assert card(make_plan(facts, LAPTOP))["Download"] == "300 MB, less than a minute at 100 Mbit/s"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("way", get_args(Way))
@pytest.mark.parametrize("speed", get_args(Speed))
@pytest.mark.parametrize("bits", [None, "8bit", "4bit"])
def test_every_card_has_its_words(language, way, speed, bits):
    plan = replace(make_plan(known_facts(LLAMA_8B), T4), way=way, speed=speed, quantize=bits)
    for label, value in card_lines(plan, language):
        assert label
        assert value
        assert not re.search(r"[{}]", value)


def test_the_speeds_leave_no_gap():
    assert [speed for speed, _ in SPEEDS] == list(get_args(Speed))
    assert sorted((least for _, least in SPEEDS), reverse=True) == [least for _, least in SPEEDS]
    assert SPEEDS[-1][1] == 0


def test_it_is_imported_at_once():
    """The page imports it, and stands before anything slow is loaded."""
    slow = "{'torch', 'transformers', 'huggingface_hub', 'gradio'}"
    program = f"import sys, hfdemo.models.plan_text; print(len({slow} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"0\n"


def test_the_fast_step_keeps_all_of_what_layers_with_a_window_see():
    facts = replace(usual_facts("m", 10**9), window_bytes_per_token=1000, window_tokens=512)
    whole, windowed = ((facts.cache_bytes_per_token + 1000) * 4096, facts.cache_bytes_per_token * 4096 + 1000 * 512)
    assert cache_bytes(replace(facts, model_type="gemma3_text"), 4096, way="cpu") == whole
    assert cache_bytes(replace(facts, model_type="gemma3_text"), 4096, way="gpu") == windowed
    assert cache_bytes(replace(facts, model_type="gemma2"), 4096, way="cpu") == windowed
