"""Quantized bases on this machine: what is quantized, that training flows through it, and what is saved and merged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from peft import PeftModel
from peft.utils.integrations import dequantize_module_weight
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedConfig,
    Qwen3Config,
    RobertaConfig,
    T5Config,
)
from transformers.pytorch_utils import Conv1D

from tasks.config import ConfigError, QuantConfig, RunConfig
from tasks.config.tuners import QUANTIZABLE, UNMERGEABLE, tuners
from tasks.models.adapters import attach, merged, reattach
from tasks.models.assemble import starting_model, trained_model
from tasks.models.create import create
from tasks.models.device import device, quantizes
from tasks.models.heads import heads_of
from tasks.models.load import Loading
from tasks.models.quantized import bytes_of, quantized_weights
from tasks.objectives.presets import resolve
from tasks.training.save import save_weights
from tests.models.test_tuners import SMALL, environment_as_before, section  # noqa: F401

pytestmark = pytest.mark.skipif(device() != "cpu", reason="GPUs have tests of their own")

SIZES: dict[str, Any] = {"vocab_size": 60, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                         "intermediate_size": 128, "max_position_embeddings": 66, "hidden_dropout_prob": 0.0,
                         "attention_probs_dropout_prob": 0.0}  # fmt: skip
DECODER = {name: value for name, value in SIZES.items() if "dropout" not in name}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "distilbert": DistilBertConfig(vocab_size=60, dim=64, n_layers=2, n_heads=2, hidden_dim=128, dropout=0.0,
                                   attention_dropout=0.0, seq_classif_dropout=0.0),
    "roberta": RobertaConfig(**SIZES),
    "deberta": DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["p2c", "c2p"], pooler_dropout=0.0),
    "electra": ElectraConfig(**SIZES, embedding_size=64),
    "modernbert": ModernBertConfig(**DECODER, pad_token_id=0),
    "t5": T5Config(vocab_size=60, d_model=64, d_kv=32, d_ff=128, num_layers=2, num_heads=2, decoder_start_token_id=0,
                   dropout_rate=0.0),
    "bart": BartConfig(vocab_size=60, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
                       decoder_attention_heads=2, encoder_ffn_dim=128, decoder_ffn_dim=128, dropout=0.0,
                       decoder_start_token_id=2),
    "gpt2": GPT2Config(vocab_size=60, n_embd=64, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, resid_pdrop=0.0,
                       embd_pdrop=0.0, attn_pdrop=0.0),
    "llama": LlamaConfig(**DECODER, num_key_value_heads=2, pad_token_id=0, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**DECODER, num_key_value_heads=2, head_dim=32, pad_token_id=0),
}  # fmt: skip
CLASSIFY, WRITE, CONTINUE = AutoModelForSequenceClassification, AutoModelForSeq2SeqLM, AutoModelForCausalLM
KINDS: Mapping[str, Any] = {"t5": WRITE, "bart": WRITE, "gpt2": CONTINUE, "llama": CONTINUE, "qwen3": CONTINUE}
TYPES = {CLASSIFY: "SEQ_CLS", WRITE: "SEQ_2_SEQ_LM", CONTINUE: "CAUSAL_LM"}
NF4 = QuantConfig(load_in_4bit=True, bnb_4bit_compute_dtype="float32").arguments()
INT8 = QuantConfig(load_in_8bit=True).arguments()
IDS = torch.arange(5, 23).reshape(2, 9)
QUANTIZED = (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt)


class Base:
    """A saved random base, and stage 6's artifact of it for a quantized training."""

    def __init__(self, family: str, quantization: Mapping[str, Any], place: Path) -> None:
        torch.manual_seed(0)
        self.kind, self.folder, self.model = KINDS.get(family, CLASSIFY), place / "base", place / "model"
        body = self.kind if self.kind is not CLASSIFY else None
        whole = self.kind.from_config(CONFIGS[family])
        (whole if body else whole.base_model).save_pretrained(self.folder)
        self.model.mkdir()
        loading = Loading(self.kind.__name__, "float32", quantization=quantization)
        labels = ["a", "b"] if self.kind is CLASSIFY else None
        self.made = create(self.folder, self.model, loading, {"labels": labels, "problem_type": None}, 1, 0)
        self.loading = {**vars(loading), "spared": self.made.spared}
        self.files = {path.name: path for path in self.folder.iterdir()}

    def start(self, adapter: Path | None = None, **more: Any) -> Any:
        for link in (path for path in self.model.iterdir() if path.is_symlink()):
            link.unlink()
        return starting_model(self.model, self.files, {**self.loading, **more}, adapter)

    def adapted(self, method: str = "lora", **fields: Any) -> PeftModel:
        model = self.start()
        new = (
            [] if self.kind is not CLASSIFY else [name for name, _ in model.named_parameters() if "classifier" in name]
        )
        chosen = section(method, **({"target_modules": "all-linear"} if method == "lora" else {}), **fields)
        return attach(model, chosen, TYPES[self.kind], heads_of(model, new))


def given(kind: Any) -> dict[str, torch.Tensor]:
    return {"input_ids": IDS, "labels": torch.tensor([0, 1]) if kind is CLASSIFY else IDS}


def logits(model: Any, kind: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(**given(kind)).logits


def gradients(model: Any, kind: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(5)  # one tuner samples its weights
    model.train()(**given(kind)).loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def stirred(model: Any) -> Any:
    """Many adapters start at zero, so that the base gets no gradient through them."""
    torch.manual_seed(3)
    for each in model.parameters():
        if each.requires_grad:
            each.data += 0.05 * torch.randn_like(each)
    return model


def similarity(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    pair = [torch.cat([grads[name].flatten().double() for name in one]) for grads in (one, other)]
    return float(torch.nn.functional.cosine_similarity(*pair, dim=0))


def dense(base: Base) -> Any:
    """The same model with its quantized weights as float32 ones."""
    quantized, plain = base.start(), base.start(quantization=None)
    for name, layer in quantized.named_modules():
        if isinstance(layer, QUANTIZED):
            target = plain.get_submodule(name)
            weight = dequantize_module_weight(layer).float()
            target.weight.data = weight.T.contiguous() if isinstance(target, Conv1D) else weight
    return plain


@pytest.mark.parametrize("family", ["bert", "llama", *(
    pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS if name not in ("bert", "llama"))])  # fmt: skip
def test_training_flows_through_the_quantized_base(family: str, tmp_path: Path) -> None:
    base = Base(family, NF4, tmp_path)
    model, kind = stirred(base.adapted()), base.kind
    layers = [layer for layer in model.modules() if isinstance(layer, QUANTIZED)]
    assert sum(layer.in_features * layer.out_features for layer in layers) == base.made.quantized > 0
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert any("lora_" in name for name in trained)
    assert kind is not CLASSIFY or any("modules_to_save" in name for name in trained), "the head is trained whole"
    first = gradients(model, kind)
    logits(model, kind)
    again = gradients(model, kind)
    assert all(torch.equal(first[name], again[name]) for name in first), "an evaluation must not change gradients"
    save_weights(model, tmp_path)
    plain = reattach(dense(base), tmp_path, trainable=True)
    assert similarity(first, gradients(plain, kind)) > 0.9999
    torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1).step()
    moved = {name for name, each in model.named_parameters() if not torch.equal(each, before[name])}
    assert moved == trained
    save_weights(model, tmp_path)
    assert torch.equal(logits(base.start(tmp_path), kind), logits(model, kind))


def test_eight_bits_train_as_their_dequantized_weights(tmp_path: Path) -> None:
    base = Base("llama", INT8, tmp_path)
    model = stirred(base.adapted())
    logits(model, base.kind)
    found = gradients(model, base.kind)
    save_weights(model, tmp_path)
    assert similarity(found, gradients(reattach(dense(base), tmp_path, trainable=True), base.kind)) > 0.9999
    assert torch.equal(logits(base.start(tmp_path), base.kind), logits(model, base.kind))


@pytest.mark.parametrize("arguments", [NF4, INT8], ids=["4", "8"])
@pytest.mark.parametrize("method", [pytest.param(name, marks=() if name == "ia3" else pytest.mark.slow)
                                    for name in QUANTIZABLE])  # fmt: skip
def test_a_tuner_works_with_quantized_weights(method: str, arguments: Mapping[str, Any], tmp_path: Path) -> None:
    base = Base("llama", arguments, tmp_path)
    model = stirred(base.adapted(method))
    found = gradients(model, base.kind)
    save_weights(model, tmp_path)
    assert similarity(found, gradients(reattach(dense(base), tmp_path, trainable=True), base.kind)) > 0.9999
    assert torch.equal(logits(base.start(tmp_path), base.kind), logits(model, base.kind))
    if not (tuners()[method].is_prompt or method in (*UNMERGEABLE, "beft")):  # a Llama has no biases for BEFT
        merged(reattach(base.start(quantization=None), tmp_path, trainable=False))


def asked(**more: Any) -> str:
    config = RunConfig.model_validate({"model": "m", "data": "d", "quant": True, **more})
    try:
        resolve(config, {})
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("method", [name for name in tuners() if name not in QUANTIZABLE])
def test_another_tuner_is_refused(method: str) -> None:
    assert f"quant: peft.method: {method} computes with the weights" in asked(peft=section(method).model_dump())


@pytest.mark.parametrize("start", ["pissa", "olora", "orthogonal", "mica"])
def test_a_start_from_unquantized_weights_is_refused(start: str) -> None:
    assert f"quant: peft.init_lora_weights: {start} starts" in asked(
        peft={"method": "lora", "init_lora_weights": start}
    )
    assert asked(peft={"method": "lora", "init_lora_weights": "gaussian"}) == ""


@pytest.mark.parametrize("family", ["distilbert", "roberta"])  # heads of several layers, of which a base may have all
def test_no_head_is_quantized_even_if_nothing_in_it_is_new(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CLASSIFY.from_config(CONFIGS[family])
    model.config.update({"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}})
    model.save_pretrained(tmp_path)
    (tmp_path / "out").mkdir()
    loading = Loading(CLASSIFY.__name__, "float32", quantization=NF4, spared=["k_lin", "key"])
    made = create(tmp_path, tmp_path / "out", loading, {"labels": ["a", "b"], "problem_type": None}, 1, 0)
    assert {"classifier", "key", "k_lin"} <= {*made.spared} and (family == "roberta" or "pre_classifier" in made.spared)
    files = {path.name: path for path in tmp_path.iterdir() if path.is_file()}
    live = starting_model(tmp_path / "out", files, {**vars(loading), "spared": made.spared}, None)
    names = [name for name, layer in live.named_modules() if isinstance(layer, QUANTIZED)]
    assert names and not any("classifier" in name or name.endswith(("key", "k_lin")) for name in names)
    assert type(attach(live, section("lora", modules_to_save=["key", "k_lin"][family == "distilbert":][:1]), "SEQ_CLS",
                       heads_of(live, []))).__name__.startswith("PeftModel")  # fmt: skip


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layer of BertModel can be quantized"):
        quantized_weights(CLASSIFY.from_config(CONFIGS["bert"]).base_model, ["encoder", "pooler"])


@pytest.mark.parametrize(
    ("more", "per_weight"),
    [({"load_in_4bit": True}, 0.516), ({"load_in_4bit": True, "bnb_4bit_use_double_quant": False}, 0.5625),
     ({"load_in_8bit": True}, 1.0)],
)  # fmt: skip
def test_the_stated_memory_is_that_of_the_weights(more: dict[str, Any], per_weight: float) -> None:
    quant = QuantConfig.model_validate(more)
    layer: Any = torch.nn.Linear(512, 512)
    if quant.bits == 8:
        weight = bnb.nn.Int8Params(layer.weight.data, has_fp16_weights=False, requires_grad=False).to("cpu")
        size = weight.CB.nbytes
    else:
        double = quant.bnb_4bit_use_double_quant
        weight = bnb.nn.Params4bit(layer.weight.data, compress_statistics=double, quant_type="nf4").to("cpu")
        state = weight.quant_state
        size = weight.nbytes + state.absmax.nbytes + (state.state2.absmax.nbytes if double else 0)
    assert size / 512**2 == pytest.approx(per_weight, rel=1e-3)
    assert bytes_of(512**2, quant) == pytest.approx(size, rel=1e-3)


def test_merged_into_the_base_in_its_own_precision(tmp_path: Path) -> None:
    """Equal to the adapter beside the unquantized base; as far from the quantized one as quantization moves it."""
    base = Base("llama", {**NF4, "bnb_4bit_compute_dtype": "bfloat16"}, tmp_path)
    base.loading["dtype"] = "bfloat16"
    model = stirred(base.adapted())
    save_weights(model, tmp_path)
    base.start()  # removes the links
    for link in (path for path in base.model.iterdir() if path.is_symlink()):
        link.unlink()
    whole = trained_model(tmp_path, base.model, base.files, base.loading, merge=True)
    assert {each.dtype for each in whole.parameters()} == {torch.float32}
    beside = logits(reattach(base.start(quantization=None, dtype="float32"), tmp_path, trainable=False), base.kind)
    torch.testing.assert_close(logits(whole, base.kind), beside, atol=1e-5, rtol=1e-5)
    quantized = logits(model, base.kind)
    apart = (logits(whole, base.kind) - quantized).norm() / quantized.norm()
    assert 0 < apart < 0.1


def test_bitsandbytes_computes_where_it_has_a_library() -> None:
    assert quantizes("cpu") and quantizes("cuda:NVIDIA H100") and not quantizes("tpu")
