"""Losses of training methods: their values, how they accumulate, what they refuse, and an exact resume."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from tasks.config import ConfigError, load
from tasks.config.errors import Interrupted
from tasks.objectives import OBJECTIVES
from tasks.objectives.presets import resolve
from tasks.objectives.schema import json_schema
from tasks.results.finetuned import FineTuned
from tasks.training.methods import METHODS
from tasks.training.methods.base import TrainLabels
from tasks.training.trainer import FinetuneTrainer
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import TOPICS, make_rows, make_task

ONE, SEVERAL = "single_label_classification", "multi_label_classification"
STEADY = {
    "max_steps": 3, "eval_strategy": "no", "optim": "sgd", "learning_rate": 0.5, "warmup_steps": 0, "logging_steps": 1,
    "train_sampling_strategy": "sequential", "float32_matmul_precision": "highest", "max_grad_norm": 0.1,
}  # fmt: skip


def hook(name: str, options: dict[str, Any], smoothing: float = 0.0) -> Any:
    """A method's hook, with planned options."""
    return METHODS[name].make(options, torch.nn.Module(), {"arguments": {"label_smoothing_factor": smoothing}})


def fitted(name: str, options: dict[str, Any], **labels: Any) -> Any:
    """A method's options as planned for the labels a, b and c."""
    method = METHODS[name]
    known = TrainLabels(**{"names": ("a", "b", "c"), "problem_type": ONE, "warn": lambda line: None} | labels)
    return method.fit(method.options.model_validate(options).model_dump(mode="json"), known)  # type: ignore[misc]


def drawn(rows: int = 12, classes: int = 3) -> tuple[SimpleNamespace, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=draw, dtype=torch.float64).requires_grad_()
    return SimpleNamespace(logits=logits), torch.randint(classes, (rows,), generator=draw)


# -- class weights ----------------------------------------------------------------------------------------------------


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [70, 25, 5])
    planned = fitted("class_weights", {}, counts=[70, 25, 5], rows=100)
    assert planned["weights"] == pytest.approx(compute_class_weight("balanced", classes=np.unique(labels), y=labels))


def test_balanced_weights_of_several_labels_are_negatives_by_positives() -> None:
    planned = fitted("class_weights", {}, problem_type=SEVERAL, counts=[20, 50, 80], rows=100)
    assert planned["weights"] == [4.0, 1.0, 0.25]


@pytest.mark.parametrize(
    ("more", "weights", "named"),
    [
        ({"counts": [60, 0, 20], "rows": 80}, [80 / 120, 1.0, 2.0], "b"),
        ({"counts": [0, 40, 80], "rows": 80, "problem_type": SEVERAL}, [1.0, 1.0, 1.0], "a, c"),
    ],
)
def test_a_class_without_rows_is_said(more: dict[str, Any], weights: list[float], named: str) -> None:
    said: list[str] = []
    assert fitted("class_weights", {}, warn=said.append, **more)["weights"] == pytest.approx(weights)
    (line,) = said
    assert line.startswith("methods.class_weights.weights: balanced: no training row") and line.endswith(f": {named}")


@pytest.mark.parametrize("given", [{"b": 3}, {"b": 3.0, "a": 1, "c": 1}, [1, 3, 1]])
def test_given_weights(given: Any) -> None:
    assert fitted("class_weights", {"weights": given}, counts=[5, 5, 5])["weights"] == [1.0, 3.0, 1.0]


def test_labels_that_yaml_reads_as_other_types() -> None:
    given = {"weights": {0: 2.0, True: 3.0}}
    assert fitted("class_weights", given, names=("0", "true"), counts=[1, 1])["weights"] == [2.0, 3.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_loss_is_torchs(smoothing: float) -> None:
    weights = [1.0, 5.0, 0.2]
    outputs, labels = drawn()
    ours = hook("class_weights", {"weights": weights}, smoothing)
    found = ours.loss(torch.tensor(9.0), {"labels": labels}, outputs)
    expected = functional.cross_entropy(
        outputs.logits.float(), labels, torch.tensor(weights), label_smoothing=smoothing
    )
    assert found == expected and found != functional.cross_entropy(outputs.logits.float(), labels)
    assert ours.denominator({"labels": labels}) == pytest.approx(sum(weights[at] for at in labels))


def test_weighted_loss_of_tokens_leaves_out_unlabelled_ones() -> None:
    outputs, labels = drawn()
    labels[::2] = -100
    tokens = SimpleNamespace(logits=outputs.logits.reshape(3, 4, 3))
    ours = hook("class_weights", {"weights": [1.0, 5.0, 0.2]})
    known = labels != -100
    expected = functional.cross_entropy(outputs.logits[known].float(), labels[known], torch.tensor([1.0, 5.0, 0.2]))
    found = ours.loss(None, {"labels": labels.reshape(3, 4)}, tokens)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert ours.denominator({"labels": labels}) == pytest.approx(sum([1.0, 5.0, 0.2][at] for at in labels[known]))


def test_weighted_loss_of_several_labels() -> None:
    outputs, labels = drawn()
    hot = functional.one_hot(labels, 3).float()
    ours = hook("class_weights", {"weights": [1.0, 5.0, 0.2]})
    positive = torch.tensor([1.0, 5.0, 0.2])
    expected = functional.binary_cross_entropy_with_logits(outputs.logits.float(), hot, pos_weight=positive)
    assert ours.loss(None, {"labels": hot}, outputs) == expected and ours.denominator({"labels": hot}) is None


# -- focal loss -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [None, [1.0, 5.0, 0.2]])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_one_label(gamma: float, alpha: list[float] | None) -> None:
    outputs, labels = drawn()
    labels[3] = -100
    found = hook("focal_loss", {"gamma": gamma, "alpha": alpha}).loss(None, {"labels": labels}, outputs)
    p = outputs.logits.softmax(-1)
    terms = [-(alpha[at] if alpha else 1) * (1 - p[row, at]) ** gamma * torch.log(p[row, at])
             for row, at in enumerate(labels.tolist()) if at >= 0]  # fmt: skip
    assert found.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)
    if gamma == 0 and alpha is None:
        assert found.item() == pytest.approx(functional.cross_entropy(outputs.logits, labels).item(), rel=1e-6)


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_loss_of_several_labels(alpha: float | None) -> None:
    """As torchvision's `sigmoid_focal_loss(..., alpha, gamma, reduction="mean")`."""
    outputs, labels = drawn()
    hot = functional.one_hot(labels, 3).double()
    found = hook("focal_loss", {"gamma": 2.0, "alpha": alpha}).loss(None, {"labels": hot}, outputs)
    p = outputs.logits.sigmoid()
    p_t = torch.where(hot > 0, p, 1 - p)
    share = torch.where(hot > 0, alpha, 1 - alpha) if alpha else 1.0
    assert found.item() == pytest.approx((-share * (1 - p_t) ** 2 * p_t.log()).mean().item(), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_gradients_are_finite_for_certain_rows(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    ours = hook("focal_loss", {"gamma": gamma, "alpha": None})
    ours.loss(None, {"labels": torch.tensor([0, 0])}, SimpleNamespace(logits=logits)).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and logits.grad[1].any()


# -- in a training ----------------------------------------------------------------------------------------------------


def weights(done: FineTuned, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(done._open("s09_train").path(name))


METHODS_OF = {
    "class_weights": {"text-classification": {"weights": {"fruit": 9}}, "multi-label": {"weights": {"fruit": 9}},
                      "token-classification": {"weights": {"O": 0.1}}},
    "focal_loss": {"text-classification": {"alpha": {"fruit": 9}}, "multi-label": {"alpha": 0.25},
                   "token-classification": {"gamma": 1}},
}  # fmt: skip
QUICK = [("class_weights", "text-classification")]
CASES = slow_except(QUICK, [(name, task) for name, tasks in METHODS_OF.items() for task in tasks])


@pytest.mark.parametrize(("name", "task"), CASES)
def test_accumulated_batches_train_like_large_ones(name: str, task: str, tmp_path: Path) -> None:
    """4 batches of 4 rows are 1 batch of 16, also if their classes differ; and the method changes the weights."""
    config = make_task(task, tmp_path, dropout=0.0)
    config["data"]["split"] = {"validation": 0, "test": 0}
    found = {}
    for shape, size, windows, methods in (
        ("1 x 16", 16, 1, METHODS_OF[name][task]), ("4 x 4", 4, 4, METHODS_OF[name][task]), ("plain", 16, 1, False),
    ):  # fmt: skip
        config["train"] |= {**STEADY, "per_device_train_batch_size": size, "gradient_accumulation_steps": windows}
        done = executed({**config, "methods": {name: methods}})
        found[shape] = weights(done), [each["loss"] for each in done.history if "loss" in each]
    assert found["4 x 4"][1] == pytest.approx(found["1 x 16"][1], rel=1e-5)
    assert found["plain"][1] != pytest.approx(found["1 x 16"][1], rel=1e-2)
    for tensor, large in ((tensor, found["1 x 16"][0][name]) for name, tensor in found["4 x 4"][0].items()):
        assert torch.allclose(tensor, large, rtol=1e-4, atol=1e-6)


def resumed(config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int = 4) -> FineTuned:
    """The run after a stop in step `at`."""
    step, steps = FinetuneTrainer.training_step, []

    def stopped(self: Any, *arguments: Any, **named: Any) -> Any:
        steps.append(self.state.global_step + 1)
        if len(steps) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments, **named)

    config = {**config, "store": {"root": str(tmp_path / "stopped")}}
    with monkeypatch.context() as patched:
        patched.setattr(FinetuneTrainer, "training_step", stopped)
        with pytest.raises(Interrupted):
            executed(config)
        done = executed(config)
    assert steps == [*range(1, config["train"]["max_steps"] + 1)]
    return done


@pytest.mark.parametrize(
    ("name", "task"),
    [("class_weights", "token-classification"),
     pytest.param("focal_loss", "multi-label", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_stopped_training_ends_with_the_same_weights(
    name: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_task(task, tmp_path)
    config["train"] |= {"max_steps": 7, "eval_strategy": "no"}
    config["train"]["label_smoothing_factor"] = 0.1 if name == "class_weights" else 0.0
    config["methods"] = {name: METHODS_OF[name][task]}
    whole, again = weights(executed(config)), weights(resumed(config, tmp_path, monkeypatch))
    assert all(whole[each].equal(again[each]) for each in whole)


def test_the_plan_has_the_weights_and_keys_follow_the_counts(tmp_path: Path) -> None:
    config = make_task("text-classification", tmp_path)
    config["data"]["split"] = {"validation": 0, "test": 0}
    config["train"] |= {"max_steps": 1, "eval_strategy": "no"}
    config["methods"] = {"class_weights": "balanced"}
    rows = Path(config["data"]["train"]).read_text().splitlines()
    done = executed(config)
    assert done.arguments["methods"]["class_weights"]["weights"] == pytest.approx([1.0, 1.0, 1.0])
    other = tmp_path / "fewer.jsonl"
    other.write_text("\n".join([*rows[:30], *(row for row in rows[30:] if '"label": "metal"' not in row)]))
    config["data"]["train"] = str(other)
    fewer = executed(config)
    counts = [sum(f'"label": "{topic}"' in row for row in other.read_text().splitlines()) for topic in TOPICS]
    assert fewer.arguments["methods"]["class_weights"]["weights"] == pytest.approx(
        [sum(counts) / (3 * each) for each in counts]
    )


# -- refusals ---------------------------------------------------------------------------------------------------------


def resolved(task: str, methods: Any, **more: Any) -> Any:
    config = {"model": "m", "data": {"train": "rows.csv"}, "task": task, "methods": methods, **more}
    loaded = load(config)
    return resolve(loaded.config, loaded.origin)[0]


@pytest.mark.parametrize(
    ("task", "methods", "more", "said"),
    [
        *((task, name, {}, f"methods.{name}: is for .* with the model's own loss, not for {task}; leave it out")
          for name in ("class_weights", "focal_loss") for task in OBJECTIVES
          if task not in ("text-classification", "token-classification")),
        ("ner", {"focal_loss": 2, "class_weights": True}, {}, "methods.focal_loss: .*set alpha instead"),
        ("ner", "focal_loss", {"train": {"label_smoothing_factor": 0.1}}, "train.label_smoothing_factor: 0.1 with"),
        ("ner", {"class_weights": "balancd"}, {}, "methods.class_weights.weights: 'balancd' given; .*mean balanced"),
        ("ner", {"class_weights": {"weights": {"a": 0}}}, {}, "class_weights.weights: 0 given for 'a'; .*above 0"),
        ("ner", {"class_weights": {"weights": [1, -2]}}, {}, "class_weights.weights: -2 given for 2; .*above 0"),
        ("ner", {"class_weights": {"weights": {"a": "x"}}}, {}, "class_weights.weights: 'x' given for 'a'"),
        ("ner", {"class_weights": {"weight": 1}}, {}, "class_weights.weight: unknown name; did you mean weights"),
        ("ner", {"focal_loss": -1}, {}, "methods.focal_loss.gamma: -1 given; valid: .*at least 0"),
        ("ner", {"focal_loss": {"alpha": 1.5}}, {}, "methods.focal_loss.alpha: 1.5 given; valid: .*between 0 and 1"),
        ("ner", "focal_los", {}, "methods.focal_los: there is no such method; .*did you mean 'focal_loss'"),
    ],
)  # fmt: skip
def test_refused_when_the_config_is_resolved(task: str, methods: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        resolved(task, methods, **more)


@pytest.mark.parametrize(
    ("name", "options", "labels", "said"),
    [
        ("class_weights", {"weights": {"bb": 2}}, {"names": ["a", "bbb"]},
         "methods.class_weights.weights.bb: there is no such label; valid are a, bbb; did you mean 'bbb'"),
        ("class_weights", {"weights": [1, 2]}, {}, "weights: 2 numbers given; there are 3 classes, .*order: a, b, c"),
        ("class_weights", {}, {"names": (), "problem_type": "regression"}, "these labels are numbers"),
        ("focal_loss", {}, {"names": (), "problem_type": "regression"}, "these labels are numbers"),
        ("focal_loss", {"alpha": {"d": 2}}, {}, "methods.focal_loss.alpha.d: there is no such label"),
        ("focal_loss", {"alpha": 0.25}, {}, "alpha: 0.25 given, but these rows have one label each"),
        ("focal_loss", {"alpha": "balanced"}, {"problem_type": SEVERAL}, "'balanced' given, but these rows have seve"),
    ],
)  # fmt: skip
def test_refused_once_the_labels_are_known(name: str, options: Any, labels: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fitted(name, options, **labels)


def test_a_label_that_does_not_exist_is_refused_before_the_model_is_made(bert: Path, tmp_path: Path) -> None:
    from flows.api import plan
    from tests.tiny import make_config

    rows = make_rows(tmp_path / "rows.csv", 30)
    config = make_config(bert, rows, tmp_path / "store", methods={"class_weights": {"weights": {"friut": 2}}})
    with pytest.raises(ConfigError, match=r"weights\.friut: there is no such label; .*did you mean 'fruit'"):
        plan(load(config))


@pytest.mark.parametrize(
    ("methods", "valid"),
    [
        ({"class_weights": "balanced"}, True), ({"class_weights": {"weights": {"a": 2}}}, True),
        ({"class_weights": [1, 2.5]}, True), ({"focal_loss": {"gamma": 1, "alpha": 0.25}}, True),
        ({"focal_loss": {"alpha": "balanced"}}, True), ({"class_weights": {"weights": "equal"}}, False),
        ({"focal_loss": {"gama": 1}}, False),
    ],
)  # fmt: skip
def test_the_schema_knows_them(methods: Any, valid: bool) -> None:
    config = {"model": "m", "data": {"train": "rows.csv"}, "methods": methods}
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(config) is valid
