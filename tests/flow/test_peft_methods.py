"""Methods of peft in whole runs: trained, planned, saved and used as any other model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

from flows.api import plan
from flows.cli import main
from tasks.config import ConfigError, load
from tasks.execution.estimate import estimate
from tasks.models.bases.files import PROMPT_ENCODER
from tasks.objectives.presets import resolve
from tests.flow.scenes import executed
from tests.tiny import make_config, make_task

QUICK = {"train__max_steps": 4, "data__max_length": 32}
METHODS: list[dict[str, Any]] = [
    {"method": "ia3"},
    {"method": "prompt_tuning", "num_virtual_tokens": 3},
    {"method": "prefix_tuning", "num_virtual_tokens": 3},
    {"method": "p_tuning", "num_virtual_tokens": 3, "encoder_hidden_size": 16},
    {"method": "bottleneck", "reduction_factor": 4},
    {"method": "adalora", "init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 1},
]


@pytest.mark.parametrize("peft", METHODS, ids=lambda peft: peft["method"])
def test_a_saved_adapter_predicts_as_the_model_that_was_handed_back(
    peft: dict[str, Any], bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, text = tmp_path / "out", "balen fruit koral"
    done = executed(make_config(bert, rows, tmp_path / "store", peft=peft, output_dir=str(out), **QUICK))
    model, tokenizer = done
    trainable = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert trainable == done._open("s07_adapter").json("adapter.json")["trainable"] > 0, "it can be trained on"
    with torch.no_grad():
        expected = model.eval()(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
    (tmp_path / "asked.csv").write_text(f"text\n{text}\n")
    capsys.readouterr()
    assert main(["predict", str(out), str(tmp_path / "asked.csv")]) == 0
    found = json.loads(capsys.readouterr().out)
    chances = torch.tensor([found[f"probability_{name}"] for name in model.config.id2label.values()])
    torch.testing.assert_close(chances, expected, atol=1e-5, rtol=1e-4)
    adapter = json.loads((out / "adapter_config.json").read_text())
    assert adapter["peft_type"] == peft["method"].upper() and adapter["base_model_name_or_path"]
    assert not (out / PROMPT_ENCODER).exists()
    if peft["method"] == "adalora":
        assert adapter["total_step"] == QUICK["train__max_steps"]


@pytest.mark.parametrize("task", ["language-generation", "sequence-sequence"])
@pytest.mark.parametrize("method", ["p_tuning", "prompt_tuning", "prefix_tuning"])
def test_prompts_of_language_models(method: str, task: str, tmp_path: Path) -> None:
    config = make_task(task, tmp_path) | {"peft": {"method": method, "num_virtual_tokens": 3}}
    config["train"] |= {"max_steps": 2}
    metrics = executed(config).metrics
    assert 0 <= metrics["eval_token_accuracy"] <= 1 and metrics["eval_loss"] > 0


def test_a_prompt_takes_room_from_the_rows(bert: Path, rows: Path, tmp_path: Path) -> None:
    peft = {"method": "prompt_tuning", "num_virtual_tokens": 10}
    config = make_config(bert, rows, tmp_path, peft=peft, train__max_steps=1, data__max_length=64)
    done = executed(config)
    assert done._open("s05_tokenize").json("summary.json")["max_length"] == 54  # of 64 positions


def test_adalora_lowers_ranks_to_its_target(bert: Path, rows: Path, tmp_path: Path) -> None:
    peft = {"method": "adalora", "init_r": 4, "target_r": 1, "tinit": 2, "tfinal": 2, "target_modules": ["query"]}
    model, _ = executed(make_config(bert, rows, tmp_path, peft=peft, train__max_steps=12, data__max_length=32))
    values = [each for name, each in model.named_parameters() if "lora_E" in name]
    assert sum(int((each != 0).sum()) for each in values) == len(values), "one singular value a layer on average"
    assert sum(each.numel() for each in values) == 4 * len(values)


def test_loraplus_rates(bert: Path, rows: Path, tmp_path: Path) -> None:
    plain = make_config(bert, rows, tmp_path, peft={"method": "lora", "r": 2}, **QUICK)
    model, _ = executed(plain)
    slow = {name: each.detach().clone() for name, each in model.named_parameters() if "lora_" in name}
    model, _ = executed(plain | {"methods": {"loraplus": 16}})
    changed = {name for name, each in model.named_parameters() if name in slow and not torch.equal(each, slow[name])}
    sizes = {name: float(each.detach().norm()) for name, each in model.named_parameters() if "lora_B" in name}
    assert any("lora_A" in name for name in changed), "A gets other gradients once B is larger"
    assert all(size > 2 * float(slow[name].norm()) for name, size in sizes.items()), "B starts at 0 and goes further"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"peft": "prompt_tuning", "task": "token-classification"}, "peft.method: prompt_tuning .*has no labels"),
        ({"peft": "prompt_tuning", "export": {"merge": True}}, "export.merge: .*prompt_tuning cannot be merged"),
        ({"peft": "lily", "export": {"merge": True}}, "export.merge: .*lily cannot be merged"),
        ({"peft": "bottleneck", "export": {"merge": True}}, "export.merge: .*bottleneck cannot be merged"),
        (
            {"peft": {"method": "bottleneck", "target_modules": ["dense"], "mh_adapter": False}},
            "peft.target_modules: also says where adapters go, as peft.mh_adapter does",
        ),
        ({"peft": "bottleneck", "task": "token-detection"}, "peft.method: token-detection saves .* merged into them"),
        ({"peft": "prefix_tuning", "task": "token-detection"}, "peft.method: token-detection saves .* merged into"),
        ({"peft": "trainable_tokens"}, "peft.token_indices: missing"),
        ({"peft": "ia3", "methods": {"loraplus": 16}}, "methods.loraplus: only LoRA has B matrices"),
        (
            {"peft": {"method": "adalora", "tinit": 3, "tfinal": 3}, "train": {"max_steps": 6}},
            "peft.tinit: 3 steps, and peft.tfinal: 3, in a training of 6: .*less than 6 together, or .* than 6 steps",
        ),
        (
            {"peft": "prefix_tuning", "train": {"gradient_checkpointing": True}},
            "train.gradient_checkpointing: it runs layers without the cache that peft.method: prefix_tuning",
        ),
        ({"peft": "p_tuning", "task": "question-answering"}, "peft.method: p_tuning .*has no labels"),
        (
            {"peft": {"method": "p_tuning", "encoder_dropout": 0.1}},
            "peft.encoder_dropout: is only used with peft.encoder_reparameterization_type: LSTM",
        ),
        (
            {"peft": {"method": "prefix_tuning", "encoder_hidden_size": 8}},
            "peft.encoder_hidden_size: is only used with peft.prefix_projection: true",
        ),
        ({"peft": {"method": "adalora", "tfinal": -1}}, "peft.tfinal: -1 given; valid: a number of steps, 0 or more"),
        ({"peft": {"method": "adalora", "deltaT": 0}}, "peft.deltaT: 0 given; valid: a number of steps, 1 or more"),
        ({"peft": {"method": "adalora", "r": 4}}, "peft.r: AdaLoRA does not use it; set peft.init_r"),
        (
            {"peft": {"method": "adalora", "init_r": 4}},
            r"peft.target_r: 8 \(the default\) is above peft.init_r: 4, .*set peft.target_r to at most 4",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_config(given: dict[str, Any], says: str) -> None:
    loaded = load({"model": "some/model", "data": "rows.csv", **given})
    with pytest.raises(ConfigError, match=says):
        resolve(loaded.config, loaded.origin)


SHORT = r"peft.tinit: 3 steps, and peft.tfinal: 5, in a training of 8: no step .*; set them to less than 8 together, or"


def test_a_plan_refuses_too_short_a_training_for_adalora(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    peft = {"method": "adalora", "tinit": 3, "tfinal": 5}
    config = make_config(bert, rows, tmp_path, peft=peft, train__num_train_epochs=1, data__max_length=32)
    with pytest.raises(ConfigError, match=SHORT):
        plan(load(config))
    with pytest.raises(ConfigError, match=SHORT):
        executed(config)
    assert not [*tmp_path.glob("records/s09_train/*")]
    assert plan(load(config | {"peft": peft | {"tfinal": 2}}))
    monkeypatch.setattr("tasks.s05_tokenize.ALL_IN_A_PLAN", 1)  # steps are an estimate
    assert estimate(*plan(load({**config, "store": {"root": str(tmp_path / "other")}})))
    assert "in a training of 8" in caplog.text


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_loraplus_of_a_continued_adapter(kind: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(bert, num_labels=3)
    theirs = {
        "lora": LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"),
        "ia3": IA3Config(target_modules=["query"], feedforward_modules=[], task_type="SEQ_CLS"),
    }
    get_peft_model(base, theirs[kind]).save_pretrained(tmp_path / "adapter")
    given = make_config(tmp_path / "adapter", rows, tmp_path, peft="continue", methods={"loraplus": 16})
    if kind == "lora":
        costs = estimate(*plan(load(given)))
        assert costs
        found = [(each["parameters"], each["learning_rate"]) for each in costs.groups if each["learning_rate"]]
        assert found == [(2 * 2 * 32 + 99, 2e-3), (2 * 2 * 32, 16 * 2e-3)]
    else:
        with pytest.raises(ConfigError, match=r"methods.loraplus: only LoRA has B matrices, and the adapter .* ia3"):
            plan(load(given))


def test_a_plan_refuses_too_short_a_training_of_a_continued_adalora(bert: Path, rows: Path, tmp_path: Path) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(bert, num_labels=3)
    config = AdaLoraConfig(target_modules=["query"], tinit=3, tfinal=5, total_step=9, task_type="SEQ_CLS")
    get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    given = make_config(tmp_path / "adapter", rows, tmp_path, peft="continue", train__num_train_epochs=1)
    with pytest.raises(ConfigError, match=SHORT):
        plan(load(given))
    assert plan(load(given, ["train.num_train_epochs=2"]))
