"""Bottleneck adapters: where they go in each architecture, that they start by changing nothing, and what is trained."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from tasks.config import ConfigError
from tasks.models.adapters import attach
from tasks.models.bottleneck import PLACES, Bottleneck
from tasks.results.usage import usage
from tasks.training.save import save_weights
from tests.models.test_tuners import IDS, attached, fresh, given, logits, section
from tests.selection import slow_except

# Each architecture takes those that it knows.
SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "word_embed_proj_dim", "embedding_size"), 16),
    **dict.fromkeys(("intermediate_size", "d_ff", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "encoder_attention_heads", "n_head", "n_heads"), 2),
    "decoder_attention_heads": 2, "num_heads": 2, "head_dim": 8, "d_kv": 8, "num_labels": 3, "vocab_size": 60,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
}  # fmt: skip


def body(family: str) -> Any:
    torch.manual_seed(0)
    plain = AutoConfig.for_model(family)
    known = {name: value for name, value in SIZES.items() if hasattr(plain, name) and name not in plain.attribute_map}
    return AutoModel.from_config(AutoConfig.for_model(family, **known)).eval()


def outputs(model: Any, is_encoder_decoder: bool) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS, **({"decoder_input_ids": IDS} if is_encoder_decoder else {}))[0]


@pytest.mark.parametrize("family", slow_except(["bert", "llama", "t5"], PLACES))
def test_each_architecture_starts_unchanged_with_two_in_each_layer(family: str) -> None:
    model = body(family)
    double = model.config.is_encoder_decoder
    plain = outputs(model, double)
    chosen = section("bottleneck", reduction_factor=4, cross_adapter=double, non_linearity="gelu")
    adapted = attach(model, chosen, "FEATURE_EXTRACTION", [])
    added = [each for each in adapted.modules() if isinstance(each, Bottleneck)]
    assert len(added) == (10 if double else 4), "two for each of 2 layers, in each half, and one for cross-attention"
    assert all(each.down.weight.shape == (4, 16) for each in added)
    assert torch.equal(outputs(adapted, double), plain)
    torch.nn.init.normal_(added[0].up.weight)
    assert not torch.equal(outputs(adapted, double), plain)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, {"attention.output.dense", "output.dense"}),
        ({"mh_adapter": False}, {"output.dense"}),
        ({"output_adapter": False}, {"attention.output.dense"}),
        ({"target_modules": ["intermediate.dense"]}, {"intermediate.dense"}),
        ({"exclude_modules": r".*\.0\..*", "mh_adapter": False}, {"output.dense"}),
    ],
)
def test_only_adapters_and_the_head_are_trained(fields: dict[str, Any], names: set[str]) -> None:
    model, _ = attached("bert", "SEQ_CLS", section("bottleneck", **fields))
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    head = {f"base_model.model.classifier.modules_to_save.default.{each}" for each in ("weight", "bias")}
    assert head < trained
    layers = {name.split(".bottleneck_adapters.")[0].split("encoder.layer.")[1] for name in trained - head}
    wanted = ("1",) if "exclude_modules" in fields else ("0", "1")
    assert layers == {f"{layer}.{name}" for layer in wanted for name in names}


def test_norms_and_frozen_weights_stay() -> None:
    model, _ = attached("bert", "SEQ_CLS", section("bottleneck", non_linearity="tanh"))
    for name, parameter in model.named_parameters():
        if ".up.weight" in name:  # as long as they are zero, nothing below them gets a gradient
            torch.nn.init.normal_(parameter)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    model.train()(**given("SEQ_CLS")).loss.backward()
    torch.optim.SGD(model.parameters(), lr=10).step()
    moved = {name for name, each in model.named_parameters() if not torch.equal(each, before[name])}
    assert moved == {name for name in before if "bottleneck_adapters" in name or "modules_to_save" in name}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"cross_adapter": True}, "cross_adapter is true, and BertForSequenceClassification has no such blocks"),
        ({"mh_adapter": False, "output_adapter": False}, "are all false, which leaves no adapter"),
        ({"reduction_factor": 0}, "reduction_factor is 0.*above 0"),
        ({"dropout": 1}, r"dropout is 1.*in \[0, 1\)"),
        ({"target_modules": ["LayerNorm"]}, "target_modules has a LayerNorm, whose output's width is unknown"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"peft: bottleneck does not fit .*{says}"):
        attached("bert", "SEQ_CLS", section("bottleneck", **fields))


def test_an_unknown_architecture_needs_target_modules() -> None:
    with pytest.raises(ConfigError, match=r"the blocks of gpt_neox are unknown \(known: bart, bert, .*target_modules"):
        attach(body("gpt_neox"), section("bottleneck"), "FEATURE_EXTRACTION", [])
    chosen = section("bottleneck", target_modules=["attention.dense", "mlp.dense_4h_to_h"])
    adapted = attach(body("gpt_neox"), chosen, "FEATURE_EXTRACTION", [])
    assert sum(isinstance(each, Bottleneck) for each in adapted.modules()) == 4


@pytest.mark.slow
def test_the_file_is_small_and_the_printed_lines_load_it(tmp_path: Path) -> None:
    model, _ = attached("bert", "SEQ_CLS", section("bottleneck"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    save_weights(model, tmp_path)
    fresh("bert", "SEQ_CLS").save_pretrained(tmp_path / "base")
    trainable = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 4 * trainable + 5000
    adapter = {"base_model_name_or_path": str(tmp_path / "base"), "peft_type": "BOTTLENECK"}
    lines = usage(str(tmp_path), "AutoModelForSequenceClassification", "text-classification", adapter)
    assert "import tasks.models.bottleneck" in lines
    (load,) = (line for line in lines.splitlines() if line.startswith("model = PeftModel"))
    script = f"""
import sys, torch, tasks.models.bottleneck
from peft import PeftModel
from transformers import AutoModelForSequenceClassification
base = AutoModelForSequenceClassification.from_pretrained({str(tmp_path / "base")!r})
{load}
with torch.no_grad():
    torch.save(model.eval()(torch.arange(5, 23).reshape(2, 9)).logits, {str(tmp_path / "logits")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert torch.equal(torch.load(tmp_path / "logits"), logits(model, "SEQ_CLS"))


def test_disabled_and_removed_adapters_leave_the_base() -> None:
    plain = logits(fresh("bert", "SEQ_CLS"), "SEQ_CLS")
    model, _ = attached("bert", "SEQ_CLS", section("bottleneck"))
    for name, parameter in model.named_parameters():
        if "bottleneck_adapters" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    assert not torch.equal(logits(model, "SEQ_CLS"), plain)
    with model.disable_adapter():
        assert torch.equal(logits(model, "SEQ_CLS"), plain)
    assert torch.equal(logits(model.unload(), "SEQ_CLS"), plain)
