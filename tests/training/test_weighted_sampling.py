"""Weighted sampling: what is drawn, what it contradicts, and an exact resume within an epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flows.api import plan
from tasks.config import ConfigError, load
from tasks.objectives.presets import resolve
from tasks.training.hooks import TrainingHook
from tasks.training.methods.weighted_sampling import DrawsByClass
from tasks.training.trainer import FinetuneTrainer
from tests.flow.scenes import executed
from tests.tiny import make_task
from tests.training.test_losses import resumed, weights

LABELS = np.repeat([7, 2, 3], [8000, 1800, 200])


@pytest.mark.parametrize(
    ("alpha", "shares"), [(0.0, [1 / 3] * 3), (0.5, [0.613, 0.291, 0.097]), (1.0, [0.8, 0.18, 0.02])]
)
def test_classes_are_drawn_by_the_power_of_their_counts(alpha: float, shares: list[float]) -> None:
    torch.manual_seed(0)
    sampler = DrawsByClass(LABELS, alpha)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == len(LABELS)
    found = [float((LABELS[drawn] == name).mean()) for name in (7, 2, 3)]
    assert found == pytest.approx(shares, abs=0.015)
    for name in (7, 2, 3):  # all rows of a class equally often
        rows = np.flatnonzero(name == LABELS)
        times = np.bincount(drawn, minlength=len(LABELS))[rows]
        assert abs(times[: len(rows) // 2].sum() - times[len(rows) // 2 :].sum()) < 6 * times.sum() ** 0.5


def test_the_same_generator_draws_the_same_rows() -> None:
    sampler, drawn = DrawsByClass(LABELS, 0.3), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(list(sampler))
    assert drawn[0] == drawn[1] != drawn[2]


def uneven(tmp_path: Path) -> dict[str, Any]:
    """A run over 40 rows, 4 of which are of the class `river`."""
    config = make_task("text-classification", tmp_path)
    rows = Path(config["data"]["train"]).read_text().splitlines()
    rare = [row for row in rows if '"label": "river"' in row]
    Path(config["data"]["train"]).write_text("\n".join([*(row for row in rows if row not in rare), *rare[:4]]))
    config["data"]["split"] = {"validation": 0, "test": 0}
    config["train"] |= {"max_steps": 9, "eval_strategy": "no"}
    return config


@pytest.mark.slow
def test_a_training_draws_classes_equally_often_and_resumes_exactly_within_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, seen, step = uneven(tmp_path), [], FinetuneTrainer.training_step

    def noted(self: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        seen.extend(inputs["labels"].tolist())
        return step(self, model, inputs, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(FinetuneTrainer, "training_step", noted)
        whole = weights(executed({**config, "methods": "weighted_sampling"}))
    assert seen.count(2) / len(seen) > 0.2  # 0.09 of the rows
    again = weights(resumed({**config, "methods": "weighted_sampling"}, tmp_path, monkeypatch, at=8))
    assert all(whole[name].equal(again[name]) for name in whole)


def resolved(**more: Any) -> Any:
    config = {"model": "m", "data": {"train": "rows.csv"}, "methods": {"weighted_sampling": 0.5}} | more
    loaded = load(config)
    return resolve(loaded.config, loaded.origin)


def test_the_order_of_rows_is_random_unless_the_user_wants_another() -> None:
    config, origin = resolved()
    assert config.train.train_sampling_strategy == "random"
    assert origin["train.train_sampling_strategy"] == "needed by methods.weighted_sampling"
    assert resolve(load(config.model_dump(exclude_none=True)).config, {})[0] == config
    with pytest.raises(ConfigError, match=r"train_sampling_strategy: group_by_length contradicts methods\.weighted_s"):
        resolved(train={"train_sampling_strategy": "group_by_length"})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task": "ner"}, "methods.weighted_sampling: is for text-classification .*, not for token-classification;"),
        ({"task": "clm"}, "methods.weighted_sampling: is for text-classification .*, not for language-generation"),
        ({"methods": {"weighted_sampling": 1.5}}, "methods.weighted_sampling.alpha: 1.5 given; valid: .*at most 1"),
        ({"methods": {"weighted_sampling": {"alfa": 1}}}, "alfa: unknown name; did you mean alpha"),
    ],
)
def test_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        resolved(**more)


def test_refused_for_rows_with_several_labels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weighted_sampling: is for rows with one label each, .*class_weights"):
        plan(load(make_task("multi-label", tmp_path) | {"methods": "weighted_sampling"}))


def test_two_methods_cannot_both_order_the_rows() -> None:
    class First(TrainingHook):
        def sampler(self, rows: Any) -> Any:
            return rows

    trainer: Any = object.__new__(FinetuneTrainer)
    trainer.train_dataset, trainer.hooks = [0, 1], [First({}, torch.nn.Module(), {})]
    assert trainer._get_train_sampler() == [0, 1]
    trainer.hooks *= 2
    with pytest.raises(ConfigError, match="several of them determine the order of the rows"):
        trainer._get_train_sampler()
