"""Every method of peft that a config may name is attached, trained, saved and loaded as what was trained."""

import copy
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedModel,
    RobertaConfig,
    T5Config,
)

from tasks.config import Adapter, ConfigError, RunConfig
from tasks.config.tuners import LENGTHENING, OWN, RESERVED_FIELDS, UNMERGEABLE, UNSUPPORTED, tuners
from tasks.models.adapters import attach, merged, reattach
from tasks.models.heads import heads_of
from tasks.training.save import save_weights
from tests.selection import slow_except

SIZES: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                         "intermediate_size": 32, "max_position_embeddings": 64}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES | {"max_position_embeddings": 66}),
    "modernbert": ModernBertConfig(**SIZES, pad_token_id=0),
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2, pad_token_id=0),
    "gpt2": GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0),
    "t5": T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0),
}
KINDS: dict[str, Any] = {
    "SEQ_CLS": AutoModelForSequenceClassification,
    "TOKEN_CLS": AutoModelForTokenClassification,
    "QUESTION_ANS": AutoModelForQuestionAnswering,
    "CAUSAL_LM": AutoModelForCausalLM,
    "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM,
}
# Sizes that fit layers of 16 and 32 features; elsewhere peft's defaults are used.
SMALL: dict[str, dict[str, Any]] = {
    "bottleneck": {"reduction_factor": 4},
    "c3a": {"block_size": 8}, "fourierft": {"n_frequency": 20}, "gralora": {"r": 4, "gralora_k": 2},
    "oft": {"oft_block_size": 4}, "psoft": {"r": 4}, "pvera": {"r": 8}, "randlora": {"r": 4}, "road": {"group_size": 8},
    "shira": {"r": 2}, "miss": {"r": 4}, "trainable_tokens": {"token_indices": [5, 6, 7]}, "vera": {"r": 8},
    "vblora": {"r": 2, "vector_length": 8, "num_vectors": 8}, "waveft": {"n_frequency": 20},
    **{name: {"num_virtual_tokens": 3} for name in ("p_tuning", "prefix_tuning", "prompt_tuning")},
}  # fmt: skip
IDS = torch.arange(5, 23).reshape(2, 9)
USUAL = (
    "lora",
    "adalora",
    "ia3",
    "vera",
    "oft",
    "loha",
    "ln_tuning",
    "prefix_tuning",
    "prompt_tuning",
    "trainable_tokens",
)
HEADS = ("classifier", "score", "head.", "qa_outputs")
HEADLESS = ("trainable_tokens",)


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """BOFT sets compilers in the environment, and puts a folder on the import path."""
    variables, path = dict(os.environ), list(sys.path)
    yield
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:] = path


def section(method: str, **fields: Any) -> Adapter:
    """The validated section of a config."""
    given = {"method": method, **SMALL.get(method, {}), **fields}
    found = RunConfig.model_validate({"model": "m", "data": "d", "peft": given}).peft
    assert not isinstance(found, str)
    return found  # type: ignore[return-value]


def fresh(family: str, task: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[family])
    config.num_labels = 2 if task == "QUESTION_ANS" else 3
    return KINDS[task].from_config(config)


def given(task: str) -> dict[str, torch.Tensor]:
    labels = {"SEQ_CLS": torch.tensor([0, 1]), "TOKEN_CLS": IDS % 3}.get(task, IDS)
    return {"input_ids": IDS, "labels": labels}


def logits(model: Any, task: str) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**given(task)).logits


def attached(family: str, task: str, chosen: Adapter) -> tuple[Any, list[str]]:
    model = fresh(family, task)
    new = [name for name, _ in model.named_parameters() if name.startswith(HEADS)]
    heads = heads_of(model, new if task in ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS") else [])
    return attach(model, chosen, task, heads), heads


CASES = [
    pytest.param("bert", "SEQ_CLS", id="bert"),
    pytest.param("llama", "CAUSAL_LM", id="llama", marks=pytest.mark.slow),
    pytest.param("t5", "SEQ_2_SEQ_LM", id="t5", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("method", slow_except(USUAL, tuners()))
def test_trained_and_loaded(method: str, family: str, task: str, tmp_path: Path) -> None:
    if method in HEADLESS and task == "SEQ_CLS":
        with pytest.raises(ConfigError, match=r"peft.method: .* cannot train the new head \(classifier\)"):
            attached(family, task, section(method))
        return
    model, heads = attached(family, task, section(method))
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    assert all(any(f".{head}." in name for name in trained) for head in heads), "a new head must be trained"
    assert sum(each.numel() for each in trained.values()) > 0
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    optimizer = torch.optim.SGD(trained.values(), lr=0.1)
    for _ in range(2):  # some start at zero, so that others get no gradient at first
        model.train()(**given(task)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, each in model.named_parameters() if not torch.equal(each, before[name])}
    assert moved and moved <= trained.keys(), "frozen weights must not change"
    save_weights(model, tmp_path)
    torch.manual_seed(99)
    other = reattach(fresh(family, task), tmp_path, trainable=False)
    assert torch.equal(logits(other, task), logits(model, task))
    again = reattach(fresh(family, task), tmp_path, trainable=True)
    assert {name for name, each in again.named_parameters() if each.requires_grad} == trained.keys()
    assert torch.equal(logits(again, task), logits(model, task))
    if tuners()[method].is_prompt or method in UNMERGEABLE:
        with pytest.raises((NotImplementedError, AttributeError)):
            merged(other)
    elif method == "beft" and task != "SEQ_CLS":  # it changes biases, which T5 and Llama have none of
        with pytest.raises(ValueError, match="no bias"):
            merged(other)
    else:
        torch.testing.assert_close(logits(merged(other), task), logits(model, task), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["roberta", "modernbert"])  # their heads have modules in them
@pytest.mark.parametrize("method", ["lora", "boft", "loha", "ln_tuning", "oft"])
def test_heads_with_modules_are_trained_whole_and_merged(method: str, family: str, tmp_path: Path) -> None:
    model, heads = attached(family, "SEQ_CLS", section(method))
    names = [name for name, each in model.named_parameters() if each.requires_grad]
    inside = [name for name in names if any(f".{head}." in name for head in heads)]
    assert inside and all("modules_to_save" in name for name in inside), "a head is trained whole, never adapted"
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    save_weights(model, tmp_path)
    other = merged(reattach(fresh(family, "SEQ_CLS"), tmp_path, trainable=False))
    torch.testing.assert_close(logits(other, "SEQ_CLS"), logits(model, "SEQ_CLS"), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("method", slow_except(("lora",), ("lora", "ia3", "bottleneck")))
def test_adapters_for_question_answering_see_the_segments(method: str, tmp_path: Path) -> None:
    """peft's class for question answering drops `token_type_ids`, which transformers' pipelines do not."""
    model, _ = attached("bert", "QUESTION_ANS", section(method))
    segments = (IDS > 12).long()
    asked = {"input_ids": IDS, "token_type_ids": segments}
    with torch.no_grad():
        seen, blind = (model.eval()(**given).start_logits for given in (asked, {"input_ids": IDS}))
    assert not torch.allclose(seen, blind, atol=1e-3)
    save_weights(model, tmp_path)
    other = PeftModel.from_pretrained(fresh("bert", "QUESTION_ANS"), tmp_path)  # as the model card says
    with torch.no_grad():
        assert torch.equal(other.eval()(**asked).start_logits, seen)
        if method not in UNMERGEABLE:
            whole = merged(other)
            torch.testing.assert_close(whole(**asked).start_logits, seen, atol=1e-5, rtol=1e-4)


def test_a_merged_head_that_was_tied_is_saved_whole(tmp_path: Path) -> None:
    """The head of a masked language model is trained apart from the embeddings, with a bias under two names."""
    base = AutoModelForMaskedLM.from_config(copy.deepcopy(CONFIGS["bert"]))
    heads = heads_of(base, ["cls.predictions.decoder.weight"])
    model = attach(base, section("lora"), "FEATURE_EXTRACTION", heads)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        expected = model.eval()(input_ids=IDS).logits
        merged(model).save_pretrained(tmp_path)
        loaded, info = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"]
        torch.testing.assert_close(loaded(input_ids=IDS).logits, expected, atol=1e-5, rtol=1e-4)


def test_named_layers_that_a_head_has_too_leave_the_head_whole() -> None:
    model, _ = attached("roberta", "SEQ_CLS", section("lora", target_modules=["dense"], modules_to_save=["pooler"]))
    adapted = [name for name, _ in model.named_parameters() if "lora_A" in name]
    assert adapted and not any("classifier" in name for name in adapted)


@pytest.mark.parametrize(
    ("fields", "layers"),
    [
        ({"layers_to_transform": [1]}, {"1"}),
        ({"target_modules": r".*layer\.0\..*query"}, {"0"}),
    ],
)
def test_layers_of_lora(fields: dict[str, Any], layers: set[str]) -> None:
    fields = {"target_modules": ["query"], **fields}
    model, _ = attached("bert", "SEQ_CLS", section("lora", **fields))
    found = {name.split("layer.")[1][0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert found == layers


def test_ranks_of_lora_by_layer() -> None:
    chosen = section(
        "lora", r=4, target_modules=["query", "value"], rank_pattern={"value": 2}, alpha_pattern={"value": 1}
    )
    model, _ = attached("bert", "SEQ_CLS", chosen)
    ranks = {name.split(".lora_A")[0].rpartition(".")[2]: len(each) for name, each in model.named_parameters()
             if "lora_A" in name}  # fmt: skip
    assert ranks == {"query": 4, "value": 2}


@pytest.mark.parametrize("start", [True, "gaussian", "pissa", "olora", "orthogonal", "mica"])
def test_starts_of_lora_change_nothing_and_are_loaded_as_trained(start: Any, tmp_path: Path) -> None:
    plain = logits(fresh("bert", "SEQ_CLS"), "SEQ_CLS")
    model, _ = attached("bert", "SEQ_CLS", section("lora", r=4, init_lora_weights=start))
    torch.testing.assert_close(logits(model, "SEQ_CLS"), plain, atol=1e-5, rtol=1e-4)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    save_weights(model, tmp_path)
    torch.manual_seed(99)
    other = reattach(fresh("bert", "SEQ_CLS"), tmp_path, trainable=False)
    torch.testing.assert_close(logits(other, "SEQ_CLS"), logits(model, "SEQ_CLS"), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(logits(merged(other), "SEQ_CLS"), logits(model, "SEQ_CLS"), atol=1e-5, rtol=1e-4)


def test_options_that_do_not_fit_the_model_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"peft: psoft does not fit BertForSequenceClassification.*`r` \(32\)"):
        attached("bert", "SEQ_CLS", section("psoft", r=32))
    with pytest.raises(ConfigError, match=r"peft.target_modules: ia3 has no usual layers for modernbert"):
        attached("modernbert", "SEQ_CLS", section("ia3"))
    with pytest.raises(ConfigError, match=r"peft: oft does not fit GPT2LMHeadModel.*Conv1D"):
        attached("gpt2", "CAUSAL_LM", section("oft"))


def test_a_prefix_needs_a_model_with_a_cache() -> None:
    with pytest.raises(ConfigError, match=r"peft.method: prefix_tuning.*past_key_values.*ModernBert"):
        attached("modernbert", "SEQ_CLS", section("prefix_tuning"))


def test_a_prompt_that_starts_as_text(tmp_path: Path) -> None:
    from tests.tiny import make_decoder

    base = make_decoder(tmp_path / "base")
    chosen = section("prompt_tuning", prompt_tuning_init="TEXT", prompt_tuning_init_text="sun rain")
    model = attach(AutoModelForCausalLM.from_pretrained(base), chosen, "CAUSAL_LM", [], base)
    (prompt,) = (each for name, each in model.named_parameters() if each.requires_grad)
    embeddings = model.get_base_model().get_input_embeddings().weight
    assert any(torch.equal(prompt[0], each) for each in embeddings), "the prompt starts as embeddings of its text"
    save_weights(model, tmp_path / "out")
    again = reattach(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out", trainable=True)
    (loaded,) = (each for each in again.parameters() if each.requires_grad)
    assert torch.equal(loaded, prompt)


def test_the_catalogue_is_that_of_peft_and_ours() -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils import PeftType

    theirs = {kind.value.lower(): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    assert {*tuners(), *UNSUPPORTED} == theirs.keys()
    assert theirs.keys() - OWN.keys() <= {kind.value.lower() for kind in PeftType}, "peft has none of our names"
    for name, tuner in tuners().items():
        fields = theirs[name].__dataclass_fields__.keys()
        assert tuner.fields.keys() == fields
        assert tuner.is_prompt == theirs[name]().is_prompt_learning if name != "adalora" else not tuner.is_prompt
        for field in tuner.settable.values():
            assert field.type is not Any, f"{name}.{field.name} has a type that cannot be checked: {field.annotation}"
    assert RESERVED_FIELDS.keys() <= {name for tuner in theirs.values() for name in tuner.__dataclass_fields__}
    assert {*LENGTHENING, *UNMERGEABLE} <= tuners().keys()
