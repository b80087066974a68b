"""Models of known shapes with random weights, as transformers and llama.cpp read them. Made once, and kept."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import cached_assets_path

from benchmarks.processes import LLAMA_PYTHON
from benchmarks.report import progress

SHAPES: dict[str, dict[str, int]] = {
    "Qwen3-0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "Qwen3-1.7B": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
}
"""What sets them apart. Source: the models' own `config.json` on the Hub."""

COMMON: dict[str, Any] = {
    "vocab_size": 151_936,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
}

BITS = {"int8": "Q8_0", "int4": "Q4_0"}
"""How hfdemo packs, and what llama.cpp calls as many bits."""

QUANTIZE = """
import ctypes, llama_cpp, sys
options = llama_cpp.llama_model_quantize_default_params()
options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{sys.argv[3]}")
if llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(options)):
    sys.exit("llama.cpp could not quantize the file")
"""


def ensure_shape(name: str, bits: str) -> dict[str, str]:
    """Return the folder and the GGUF file of a shape; the file is empty where llama.cpp isn't installed."""
    shelf = Path(cached_assets_path("hfdemo", namespace="benchmarks", subfolder="shapes"))
    folder, gguf = shelf / name, shelf / f"{name}-{BITS[bits]}.gguf"
    if not (folder / "done").exists():
        progress(f"making {name}")
        _make_folder(name, folder)
    if not gguf.exists() and Path(LLAMA_PYTHON).exists():
        whole = shelf / f"{name}-F16.gguf"
        if not whole.exists():
            _write_gguf(folder, whole)
        partial = gguf.with_suffix(".partial")
        command = [LLAMA_PYTHON, "-c", QUANTIZE, str(whole), str(partial), BITS[bits]]
        subprocess.run(command, check=True, stdout=sys.stderr)
        partial.replace(gguf)
    return {"model": str(folder), "gguf": str(gguf) if gguf.exists() else ""}


def _make_folder(name: str, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Qwen3Config(**COMMON | SHAPES[name]), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    (folder / "done").touch()


def _write_gguf(folder: Path, path: Path) -> None:
    """Write a model as a GGUF file in 16 bit, without a tokenizer."""
    from gguf import GGUFWriter

    config = json.loads((folder / "config.json").read_bytes())
    partial = path.with_suffix(".partial")
    writer = GGUFWriter(partial, "qwen3")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    for name, numbers in _tensors(folder):
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the tensors under llama.cpp's names, the norms in 32 bit."""
    from gguf import MODEL_ARCH, get_tensor_name_map
    from safetensors import safe_open

    names = get_tensor_name_map(MODEL_ARCH.QWEN3, 200)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dictionary
                tensor = opened.get_tensor(name)
                numbers = tensor.float() if tensor.dim() == 1 else tensor.half()
                yield f"{names.get_name(name.removesuffix('.weight'))}.weight", numbers.numpy()


if __name__ == "__main__":
    for shape in SHAPES:
        for packing in BITS:
            ensure_shape(shape, packing)
