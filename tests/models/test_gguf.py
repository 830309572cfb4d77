"""A GGUF file is a base: its weights are dequantized once, into the cache."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.config import ConfigError, ModelConfig
from tasks.models.bases.base import base_files, public_name

gguf: Any = pytest.importorskip("gguf")
WIDTH, LAYERS, VOCABULARY = 32, 2, 40


def make_gguf(path: Path) -> dict[str, np.ndarray]:
    """Write a random Llama as llama.cpp does; return its tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in {"context_length": 64, "embedding_length": WIDTH, "block_count": LAYERS, "head_count": 2,
                        "head_count_kv": 2, "feed_forward_length": 64, "vocab_size": VOCABULARY}.items():  # fmt: skip
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<|end|>", *(chr(ord("!") + at) for at in range(VOCABULARY - 2)), '!"'])
    writer.add_token_types([3] + [1] * (VOCABULARY - 1))
    writer.add_token_merges(['! "'])
    writer.add_eos_token_id(0)
    writer.add_chat_template("{% for turn in messages %}{{ turn['content'] + '<|end|>' }}{% endfor %}")
    shapes = {"token_embd": (VOCABULARY, WIDTH), "output": (VOCABULARY, WIDTH), "output_norm": (WIDTH,)}
    for at in range(LAYERS):
        shapes |= {f"blk.{at}.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"blk.{at}.{name}": (64, WIDTH) for name in ("ffn_gate", "ffn_up")}
        shapes |= {f"blk.{at}.ffn_down": (WIDTH, 64), f"blk.{at}.attn_norm": (WIDTH,), f"blk.{at}.ffn_norm": (WIDTH,)}
    found = {name: draw.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    for name, value in found.items():
        writer.add_tensor(f"{name}.weight", value)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_gguf_file_is_a_base(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = make_gguf(tmp_path / "in" / "tiny.gguf")
    files = base_files(ModelConfig(name=str(tmp_path / "in" / "tiny.gguf")))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files.keys()
    assert files["config.json"].is_relative_to(cache)
    folder = files["config.json"].parent
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert np.array_equal(model.get_input_embeddings().weight.detach().numpy(), tensors["token_embd"])
    assert np.array_equal(model.model.layers[1].mlp.down_proj.weight.detach().numpy(), tensors["blk.1.ffn_down"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "<|end|>" and "turn['content']" in tokenizer.chat_template
    monkeypatch.setattr("tasks.models.bases.gguf._convert", None)  # a second call does not convert again
    assert base_files(ModelConfig(name=str(tmp_path / "in"))) == files, "a folder with nothing else of a model"
    assert not [path for path in folder.parent.iterdir() if path != folder], "nothing half-written is left"


def test_what_cannot_be_read(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ConfigError, match=r"model.name: transformers cannot read broken.gguf: "):
        base_files(ModelConfig(name=str(broken)))
    assert not [*cache.rglob("*.safetensors")]
    broken.with_name("other.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match=r"has several GGUF files; give one of broken.gguf, other.gguf with its path"):
        base_files(ModelConfig(name=str(tmp_path)))
    monkeypatch.setattr("tasks.models.bases.gguf.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"other.gguf is a GGUF file; to read it: pip install gguf"):
        base_files(ModelConfig(name=str(broken.with_name("other.gguf"))))


def test_its_name_in_a_card(tmp_path: Path) -> None:
    make_gguf(tmp_path / "tiny.gguf")
    assert public_name(ModelConfig(name=str(tmp_path / "tiny.gguf"))) == "tiny.gguf (a local file)"
