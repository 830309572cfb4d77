"""Code written for txtai's trainer runs with one import changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import HFTrainer
from tasks.config.errors import ConfigError, DataError
from tests.tiny import TASKS, TOPICS, make_task

QUICK = {"max_steps": 4, "per_device_train_batch_size": 4, "torch_num_threads": 1, "learning_rate": 1e-3}
ROWS = [{"text": f"balen {TOPICS[at % 2]} koral {at}", "label": at % 2} for at in range(24)]


@pytest.fixture(autouse=True)
def places(prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FINETUNE_STORE", str(tmp_path / "store"))


def test_a_path_and_dicts(bert: Path) -> None:
    trainer = HFTrainer()
    model, tokenizer = trainer(str(bert), ROWS, validation=ROWS[:8], maxlength=16, **QUICK)
    assert model.config.num_labels == 2 and not model.training
    assert tokenizer("fruit")["input_ids"]
    assert 0 <= trainer.metrics["eval_accuracy"] <= 1
    assert trainer.result.rows("train").num_rows == 24
    assert trainer.result.arguments["arguments"]["max_steps"] == 4


def test_a_live_pair_comes_back_trained(bert: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(bert, num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(bert)
    before = model.classifier.weight.detach().clone()
    found, same = HFTrainer()((model, tokenizer), pd.DataFrame(ROWS), columns=("text", "label"), **QUICK)
    assert found is model and same is tokenizer
    assert not model.classifier.weight.equal(before)


def test_labels_that_were_a_trap_there(bert: Path) -> None:
    words = [(row["text"], ["neg", "pos"][row["label"]]) for row in ROWS]
    model, _ = HFTrainer()(str(bert), words, columns=("text", "label"), **QUICK)
    assert model.config.id2label == {0: "neg", 1: "pos"}
    gaps = [{"text": row["text"], "label": row["label"] * 5} for row in ROWS]
    model, _ = HFTrainer()(str(bert), gaps, **QUICK)
    assert model.config.num_labels == 2
    scores = [{"text": row["text"], "label": row["label"] + 0.5} for row in ROWS]
    model, _ = HFTrainer()(str(bert), scores, **QUICK)
    assert model.config.problem_type == "regression"
    hot = [{"text": row["text"], "label": [row["label"], 1]} for row in ROWS]
    model, _ = HFTrainer()(str(bert), hot, **QUICK)
    assert model.config.problem_type == "multi_label_classification"


def test_another_label_column(bert: Path) -> None:
    rows = [{"body": row["text"], "topic": row["label"], "label": "else"} for row in ROWS]
    model, _ = HFTrainer()(str(bert), rows, columns=("body", None, "topic"), **QUICK)
    assert model.config.num_labels == 2


def test_metrics_are_called_and_never_lose_a_model(bert: Path) -> None:
    def accuracy(found: Any) -> dict[str, float]:
        return {"mine": float((np.argmax(found.predictions, axis=-1) == found.label_ids).mean())}

    def broken(found: Any) -> dict[str, float]:
        raise RuntimeError("no")

    trainer = HFTrainer()
    trainer(str(bert), ROWS, validation=ROWS[:8], metrics=accuracy, **QUICK)
    assert trainer.metrics["eval_mine"] == pytest.approx(trainer.metrics["eval_accuracy"])
    model, _ = trainer(str(bert), ROWS, validation=ROWS[:8], metrics=broken, **QUICK)
    assert model is not None and "eval_mine" not in trainer.metrics


@pytest.mark.parametrize("lora", [True, {"r": 4, "lora_alpha": 4, "target_modules": ["query", "value"]}])
def test_lora(lora: Any, bert: Path) -> None:
    given = dict(lora) if isinstance(lora, dict) else lora
    model, _ = HFTrainer()(str(bert), ROWS, lora=lora, quantize=True, **QUICK)
    assert type(model).__name__.startswith("PeftModel")
    assert model.peft_config["default"].r == (16 if lora is True else 4)
    assert lora == given, "the caller's own mapping is not written into"


@pytest.mark.parametrize("name", ["question-answering", "sequence-sequence", "language-generation",
                                  "language-modeling", "token-detection"])  # fmt: skip
def test_every_task_of_txtais(name: str, tmp_path: Path) -> None:
    import json

    config = make_task(name, tmp_path)
    rows = [json.loads(line) for line in Path(config["data"]["train"]).read_text().splitlines()]
    columns = {"question-answering": ("question", "context", "answers"), "sequence-sequence": ("source", "target")}
    more = {"prefix": "rewrite: "} if name == "sequence-sequence" else {}
    model, tokenizer = HFTrainer()(
        config["model"]["name"], rows, task=TASKS[name][0], maxlength=32, stride=8,
        columns=columns.get(name, ("text", None)), **more, **QUICK,
    )  # fmt: skip
    assert tokenizer is not None and not model.training


def test_an_iterator_is_read_once(tmp_path: Path) -> None:
    config = make_task("language-generation", tmp_path)
    rows = ({"text": row["text"]} for row in ROWS)
    model, _ = HFTrainer()(config["model"]["name"], rows, task="language-generation", maxlength=16, **QUICK)
    assert not model.training


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"task": "text-clasification"}, "did you mean 'text-classification'"),
        ({"task": "language-generation", "merge": "cancat"}, "data.merge: 'cancat' given"),
        ({"columns": ("text",)}, "columns: text-classification takes 3"),
        ({"lora": {"rank": 3}}, "lora: rank is not known here"),
        ({"teacher": "some"}, "teacher: distillation is not built yet"),
        ({"learning_rat": 3}, "did you mean train.learning_rate"),
    ],
)
def test_what_was_silent_there_is_an_error(arguments: dict[str, Any], says: str, bert: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        HFTrainer()(str(bert), ROWS, **arguments)


def test_a_class_that_train_lacks_is_found_before_training(bert: Path) -> None:
    with pytest.raises(DataError, match="labels that the training data does not have: '7'"):
        HFTrainer()(str(bert), ROWS, validation=[{"text": "x y z", "label": 7}], **QUICK)
