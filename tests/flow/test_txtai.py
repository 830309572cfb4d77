"""Code written for txtai's trainer runs with one import changed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import HFTrainer
from flows.txtai.arguments import data_of, quant_of
from tasks.artifacts.store import Store
from tasks.config.errors import ConfigError, DataError
from tasks.data.tables.arrow_file import open_table
from tasks.execution.live_folders import keep_live, unused
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


@pytest.mark.slow
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


def test_a_dataset_dict_brings_its_validation_rows(bert: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict

    whole = Dataset.from_list(ROWS).cast_column("label", ClassLabel(names=["river", "metal"]))
    trainer = HFTrainer()
    model, _ = trainer(str(bert), DatasetDict({"train": whole, "validation": whole.select(range(6))}), **QUICK)
    assert model.config.id2label == {0: "river", 1: "metal"}, "the ids are the data set's"
    assert trainer.result.rows("train")["labels"].to_pylist() == [row["label"] for row in ROWS]
    assert trainer.result.rows("validation").num_rows == 6


def test_another_label_column(bert: Path) -> None:
    rows = [{"body": row["text"], "topic": row["label"], "label": "else"} for row in ROWS]
    model, _ = HFTrainer()(str(bert), rows, columns=("body", None, "topic"), **QUICK)
    assert model.config.num_labels == 2


@pytest.mark.slow
def test_metrics_get_logits_of_every_task(tmp_path: Path, bert: Path) -> None:
    seen: list[Any] = []

    def look(found: Any) -> dict[str, float]:
        seen.append(found)
        _, labels = found
        return {"rows": float(len(labels[0] if isinstance(labels, tuple) else labels))}

    trainer = HFTrainer()
    trainer(str(bert), ROWS, validation=ROWS[:8], metrics=look, **QUICK)
    logits = seen[-1].predictions
    assert logits.shape == (8, 2) and not np.allclose(logits.sum(axis=1), 1.0)
    assert seen[-1].label_ids.tolist() == [row["label"] for row in ROWS[:8]]
    for name in ("question-answering", "sequence-sequence", "language-generation", "language-modeling"):
        config = make_task(name, tmp_path / name)
        rows = [json.loads(line) for line in Path(config["data"]["train"]).read_text().splitlines()]
        model = config["model"]["name"]
        trainer(model, rows, validation=rows[:6], task=name, maxlength=32, stride=8, metrics=look, **QUICK)
        assert trainer.metrics["eval_rows"] > 0, name


def test_the_trainers_state(bert: Path) -> None:
    trainer = HFTrainer()
    trainer(str(bert), ROWS, **QUICK)
    state = trainer.result.state
    assert (state.global_step, state.max_steps) == (4, 4) and state.log_history == trainer.result.history
    assert state.best_model_checkpoint is None


@pytest.mark.slow
def test_the_best_is_kept_by_the_loss_unless_said_otherwise(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = HFTrainer()
    given = {"validation": ROWS[:8], "eval_strategy": "steps", "eval_steps": 2, **QUICK}
    trainer(str(bert), ROWS, load_best_model_at_end=True, **given)
    assert trainer.result.arguments["arguments"]["metric_for_best_model"] == "loss"
    assert trainer.result.state.best_metric == pytest.approx(trainer.metrics["eval_loss"], abs=1e-6)
    trainer(str(bert), ROWS, metric_for_best_model="accuracy", resume_from_checkpoint="x", **given)
    assert "load_best_model_at_end" not in trainer.result.arguments["arguments"]
    assert "metric_for_best_model: ignored without load_best_model_at_end" in caplog.text
    assert "resume_from_checkpoint: ignored:" in caplog.text
    from transformers import EarlyStoppingCallback

    stop = [EarlyStoppingCallback(early_stopping_patience=1)]
    trainer(
        str(bert), ROWS, load_best_model_at_end=True, metric_for_best_model="eval_accuracy", callbacks=stop, **given
    )
    assert trainer.result.arguments["patience"] == 1


@pytest.mark.slow
def test_metrics_may_choose_the_best(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def falling(found: Any) -> dict[str, float]:
        seen.append(found)
        return {"mine": -float(len(seen))}

    trainer = HFTrainer()
    given = {"validation": ROWS[:8], "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, **QUICK}
    trainer(str(bert), ROWS, metrics=falling, metric_for_best_model="mine", **given)
    assert [entry["eval_mine"] for entry in trainer.result.history if "eval_mine" in entry] == [-1.0, -2.0]
    assert (trainer.result.state.best_global_step, trainer.result.state.best_metric) == (2, -1.0)
    assert seen[0].label_ids.tolist() == [row["label"] for row in ROWS[:8]], "in the order of the rows"
    trainer(str(bert), ROWS, metrics=falling, metric_for_best_model="mine", **given)
    assert {entry.state for entry in trainer.result.stages} == {"cached"} and len(seen) == 4
    trainer(str(bert), ROWS, metrics=falling, metric_for_best_model="yours", **given)
    assert "metrics failed and is skipped: ValueError: it returns no 'yours', only mine" in caplog.text
    with pytest.raises(ConfigError, match="a function that was passed to HFTrainer"):
        from flows import finetune

        finetune({"model": str(bert), "data": [*ROWS], "eval": {"best": "live:mine"}})


def test_texts_alone(tmp_path: Path) -> None:
    config = make_task("language-generation", tmp_path)
    texts = [row["text"] for row in ROWS]
    trainer = HFTrainer()
    trainer(config["model"]["name"], texts, task="language-generation", maxlength=16, **QUICK)
    assert trainer.result.rows("train", "s04_prepare")["text"].to_pylist() == texts


def test_a_live_pair_gets_a_head_of_as_many_labels(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(bert, num_labels=3)
    tokenizer = AutoTokenizer.from_pretrained(bert)
    trainer = HFTrainer()
    found, _ = trainer((model, tokenizer), ROWS, **QUICK)
    asked = tokenizer(ROWS[0]["text"], return_tensors="pt")
    assert found is model and found(**asked).logits.equal(trainer.result.model(**asked).logits)
    assert found(**asked, labels=torch.tensor([1])).loss > 0 and found.classifier.out_features == 2
    body = AutoModel.from_pretrained(bert)
    assert HFTrainer()((body, tokenizer), ROWS, **QUICK)[0] is not body
    assert "the live model cannot hold the trained weights" in caplog.text


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
    assert all(weight.requires_grad == ("lora_" in name or "modules_to_save.default" in name)
               for name, weight in model.named_parameters()), "trainable as it was trained"  # fmt: skip


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


def test_sources_and_targets_are_cut_alike() -> None:
    data = data_of("sequence-sequence", "rows.csv", None, None, 16, 0, None, None)
    assert (data["max_length"], data["max_target_length"]) == (16, 16)
    assert "max_target_length" not in data_of("text-classification", "rows.csv", None, None, 16, 0, None, None)


def test_a_live_teacher_is_learned_from(bert: Path) -> None:
    """A regression, which txtai cannot distill; with alpha 1 the student learns the teacher, not the labels."""
    rows = [{"text": row["text"], "label": 2.5 + at / 100} for at, row in enumerate(ROWS)]
    arguments = {**QUICK, "max_steps": 60, "learning_rate": 5e-3}
    teacher = HFTrainer()(str(bert), [{**row, "label": -row["label"]} for row in rows], **arguments)
    student, tokenizer = HFTrainer()(str(bert), rows, teacher=teacher, distillation=(1.0, 1.0), **arguments)
    found = [float(model(**tokenizer(rows[0]["text"], return_tensors="pt")).logits) for model in (teacher[0], student)]
    assert found[0] == pytest.approx(-2.6, abs=0.3) and found[1] == pytest.approx(found[0], abs=0.3)


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
        ({"lora": {"rank": 3}}, "peft.rank: unknown name; here it is called peft.r"),
        ({"teacher": 3}, "teacher: give a path, a hub name, or a .model, tokenizer. pair"),
        ({"teacher": "some", "distillation": 2.0}, "distillation: 2.0 given; valid: .temperature, alpha."),
        ({"teacher": "some", "distillation": (2.0, 1.5)}, "methods.distillation.alpha: 1.5 given"),
        ({"teacher": "some", "task": "token-detection"}, "methods.distillation: token-detection has a loss"),
        (
            {"quantize": {"load_in_4bits": True}},
            "quantize: load_in_4bits is not a field .* did you mean 'load_in_4bit'",
        ),
        (
            {"quantize": {"load_in_4bit": True, "load_in_8bit": True}},
            "quantize: load_in_4bit and load_in_8bit are both",
        ),
        ({"callbacks": [object()]}, "callbacks: object is not supported"),
        ({"learning_rat": 3}, "did you mean train.learning_rate"),
    ],
)
def test_what_was_silent_there_is_an_error(arguments: dict[str, Any], says: str, bert: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        HFTrainer()(str(bert), ROWS, **arguments)


def test_a_class_that_train_lacks_is_found_before_training(bert: Path) -> None:
    with pytest.raises(DataError, match="labels that the training data does not have: '7'"):
        HFTrainer()(str(bert), ROWS, validation=[{"text": "x y z", "label": 7}], **QUICK)


def given(task: str, train: Any, validation: Any = None, columns: Any = None) -> dict[str, Any]:
    return data_of(task, train, validation, columns, None, 128, None, "concat")


def test_strings_are_texts_one_column_is_enough_and_empty_validation_is_none() -> None:
    for validation in ([], (), pd.DataFrame({"text": []})):
        data = given("language-generation", ["imdb", "a/b.txt", "c d"], validation, ("text",))
        assert open_table(Path(data["train"]))["text"].to_pylist() == ["imdb", "a/b.txt", "c d"]
        assert "validation" not in data and data["columns"] == {"text": "text"}
    assert given("language-modeling", "texts.txt")["train"] == "texts.txt"
    with pytest.raises(ConfigError, match="columns: sequence-sequence takes 2"):
        given("sequence-sequence", ROWS, columns=("text",))


@pytest.mark.parametrize("quantize", [True, {"load_in_8bit": True}])
def test_what_contradicts_itself_is_refused_without_a_gpu_too(quantize: Any) -> None:
    with pytest.raises(ConfigError, match="quantized weights cannot be trained directly"):
        quant_of(quantize, None)


@pytest.mark.slow
def test_a_checkpoint_is_gone_on_from_and_a_missing_one_an_error(bert: Path, tmp_path: Path) -> None:
    trainer, place = HFTrainer(), {**QUICK, "output_dir": str(tmp_path / "out"), "save_strategy": "steps"}
    with pytest.raises(ConfigError, match=r"resume_from_checkpoint: .*out' is neither a folder with a checkpoint"):
        trainer(str(bert), ROWS, checkpoint=True, **place)
    with pytest.raises(ConfigError, match="set output_dir, or give a path"):
        trainer(str(bert), ROWS, checkpoint=True, **QUICK)
    trainer(str(bert), ROWS, **{**place, "learning_rate": 0})
    assert trainer.result.arguments["arguments"]["learning_rate"] == 0
    for found in ("resumes from step 4 of 6", "hit"):
        trainer(str(bert), ROWS, checkpoint=True, **{**place, "max_steps": 6})
        assert found in next(entry.reason for entry in trainer.result.stages if entry.stage == "s09_train")
        assert trainer.result.state.global_step == 6


def test_a_live_base_is_written_once_whoever_else_writes_it_and_goes_when_unused(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "config.json").write_text("{}")

    def overtaken(folder: Path) -> None:
        keep_live(write)
        write(folder)

    kept = keep_live(overtaken)
    assert kept == keep_live(write) and [path.name for path in kept.parent.iterdir()] == [kept.name]
    store = Store(str(tmp_path / "store"))
    assert unused(store, 20, 24.0) == [] and unused(store, 20, -1.0) == [kept]
    record = {"run": "r", "started": "2026-01-01T00:00:00+00:00", "config": {"model": {"name": str(kept)}}}
    store.backend.write("runs/r.json", json.dumps(record).encode())
    assert unused(store, 20, -1.0) == [] and unused(store, 0, -1.0) == [kept]
