"""Packed weights come back from their file as they were made, to the last bit; a broken file is as good as none."""

from pathlib import Path

import pytest
import torch

from hfdemo.compute.cpu_weights import PackedWeight, Weight, pack_weight
from hfdemo.models.packed_file import PackedFile


def packed(bits: str, bias: bool = False) -> Weight:
    torch.manual_seed(3)
    return pack_weight([torch.randn(70, 128), torch.randn(33, 128)], bits, torch.randn(103) if bias else None)


def never() -> Weight:
    raise AssertionError("it was packed again")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    weights = PackedFile(tmp_path / "new")
    for bits in ("int8", "int4"):
        weights.weight(f"layers.0.{bits} b", torch.float32, lambda bits=bits: packed(bits))
        weights.weight(f"layers.0.{bits} bias", torch.float32, lambda bits=bits: packed(bits, bias=True))
    weights.tokens_ahead = 3
    weights.save(tmp_path / "kept", "org/model")
    return tmp_path / "kept"


@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_weight_is_what_it_was(kept, bits, bias):
    made, found = (
        packed(bits, bias),
        PackedFile(kept).weight(f"layers.0.{bits} {'bias' if bias else 'b'}", torch.float32, never),
    )
    assert isinstance(found, PackedWeight) and found.weight_format == bits
    assert (found.outputs, found.group) == (made.outputs, made.group)
    here, there = dict(found.named_buffers()), dict(made.named_buffers())
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in there)
    rows = torch.randn(5, 128)
    assert torch.equal(found(rows), made(rows))
    assert torch.equal(found.rows(torch.tensor([0, 70, 102])), made.rows(torch.tensor([0, 70, 102])))


def test_the_file_says_whose_it_is_and_how_far_one_may_read_ahead(kept):
    found = PackedFile(kept)
    assert (found.model, found.tokens_ahead, found.is_there, found.made_bytes) == ("org/model", 3, True, 0)


def test_what_cant_be_packed_is_made_each_time(tmp_path):
    odd = PackedFile(tmp_path / "new")
    made = odd.weight("odd", torch.float32, lambda: pack_weight([torch.randn(8, 33)], "int8"))
    assert not isinstance(made, PackedWeight) and odd.made_bytes == 0


def test_a_weight_that_another_program_deleted_meanwhile_is_made(kept):
    weights = PackedFile(kept)
    kept.unlink()
    made = packed("int4")
    assert weights.weight("layers.0.int4 b", torch.float32, lambda: made) is made
    assert weights.is_there, "half a file is not to be kept"


@pytest.mark.parametrize("broken", ["", "empty", "cut", "no header"])
def test_a_broken_file_is_as_good_as_none(kept, broken):
    whole = kept.read_bytes()
    if broken:
        kept.write_bytes({"empty": b"", "cut": whole[:-1], "no header": b"\xff" * 100}[broken])
    else:
        kept.unlink()
    weights, made = PackedFile(kept), packed("int8")
    assert (weights.is_there, weights.tokens_ahead) == (False, None)
    assert weights.weight("layers.0.int8 b", torch.float32, lambda: made) is made
    assert weights.made_bytes == made.nbytes
    weights.save(kept, "org/model")
    assert PackedFile(kept).weight("layers.0.int8 b", torch.float32, never).weight_format == "int8"


def test_a_file_that_cant_be_written_is_an_error_of_the_system(kept, tmp_path):
    with pytest.raises(OSError):
        PackedFile(kept).save(tmp_path / "gone" / "file", "m")
