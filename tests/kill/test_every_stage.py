"""Resume is run again: a run is killed in and between all its stages, and at the worst moments of its training. The
same run in a new process then does only what is missing and ends in the weights of a run that nobody killed.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tasks import STAGES
from tests.kill.warm import Ended, Warm, warm_parent
from tests.tiny import make_config

pytestmark = pytest.mark.slow
RUN = "tests.kill.scenes:run"

SAVING = {"train__save_strategy": "steps", "train__save_steps": 3}
VARIANTS: dict[str, dict[str, Any]] = {
    "short": {"train__max_steps": 2},
    "full": SAVING,
    "best": {**SAVING, "eval__best": "accuracy"},
    "lora": {**SAVING, "peft": {"method": "lora"}},
    "lora best": {**SAVING, "eval__best": "accuracy", "peft": {"method": "lora"}},
    "random order": {**SAVING, "train__train_sampling_strategy": "random"},
    "accumulating": {**SAVING, "train__gradient_accumulation_steps": 2},
}

# Where to die, and the first step that the run after it may train: 8 steps an epoch, a checkpoint every 3.
IN_TRAINING: list[tuple[str, Any, int]] = [
    ("in_step", 2, 1),
    ("in_step", 13, 13),
    ("in_step", 15, 13),
    ("before_optimizer", "checkpoint-12", 10),
    ("before_manifest", "checkpoint-12", 10),
    ("in_manifest", "checkpoint-12", 10),
    ("in_evaluation", 1, 7),
    ("in_evaluation", 2, 16),
]
AGAIN: list[Any] = [(variant, *point) for variant in ("full", "best", "lora") for point in IN_TRAINING]
AGAIN += [("random order", "in_step", 14, 13), ("accumulating", "in_step", 14, 7)]
AGAIN += [("lora best", "in_step", 14, 13), ("lora best", "in_evaluation", 2, 16)]


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


Whole = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def whole(warm: Warm, bert: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What each variant ends in when nobody kills it."""

    @cache
    def run(variant: str) -> dict[str, Any]:
        store = tmp_path_factory.mktemp("whole")
        return warm.play(RUN, config=make_config(bert, rows, store, **VARIANTS[variant])).result

    return run


def killed(ended: Ended) -> None:
    assert ended.code == -9, ended.log


def noted(store: Path) -> list[str]:
    """The stages which the one run so far had finished and noted when it died."""
    (record,) = store.glob("runs/*.json")
    return [entry["stage"] for entry in json.loads(record.read_text())["stages"]]


def published(store: Path) -> set[str]:
    names = {path.parent.name for path in store.glob("records/*/*.json")}
    return {name for name in names if not name.endswith(".pieces")}


def same_end(result: dict[str, Any], whole: dict[str, Any]) -> None:
    assert result["weights"] == whole["weights"]
    assert result["metrics"] == whole["metrics"]
    assert result["keys"] == whole["keys"]


@pytest.mark.parametrize("place", ["inside", "after"])
@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_and_after_each_stage(
    stage: str, place: str, warm: Warm, whole: Whole, bert: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(bert, rows, tmp_path, **VARIANTS["short"])
    killed(warm.play(RUN, config=config, death=(place, stage)))

    done = STAGES[: STAGES.index(stage) + (place == "after")]
    assert published(tmp_path) == set(done)
    if stage != STAGES[0]:
        assert noted(tmp_path) == list(STAGES[: STAGES.index(stage)])

    result = warm.play(RUN, config=config).result
    assert {name for name, state in result["stages"].items() if state == "cached"} == set(done)
    assert {name for name, state in result["stages"].items() if state == "built"} == set(STAGES) - set(done)
    same_end(result, whole("short"))


@pytest.mark.parametrize(("variant", "death", "argument", "first"), AGAIN)
def test_killed_in_training(
    variant: str, death: str, argument: Any, first: int,
    warm: Warm, whole: Whole, bert: Path, rows: Path, tmp_path: Path,
) -> None:  # fmt: skip
    config = make_config(bert, rows, tmp_path, **VARIANTS[variant])
    killed(warm.play(RUN, config=config, death=(death, argument)))
    assert published(tmp_path) == set(STAGES[:8])

    result = warm.play(RUN, config=config).result
    assert [name for name, state in result["stages"].items() if state == "built"] == list(STAGES[8:])
    assert result["steps"][0] == first, "it must continue from the newest whole checkpoint"
    same_end(result, whole(variant))
    assert not any(path.is_file() for path in (tmp_path / "work").rglob("*")), (
        "what was in progress is gone once it is done"
    )


@pytest.mark.parametrize("variant", ["full", "lora"])
def test_killed_again_and_again(variant: str, warm: Warm, whole: Whole, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path, **VARIANTS[variant])
    for death in (("in_step", 5), ("before_manifest", "checkpoint-9"), ("in_step", 7), ("in_evaluation", 1)):
        killed(warm.play(RUN, config=config, death=death))
    result = warm.play(RUN, config=config).result
    assert result["steps"] == [16]
    same_end(result, whole(variant))


def test_how_often_is_saved_may_change_between(
    warm: Warm, whole: Whole, bert: Path, rows: Path, tmp_path: Path
) -> None:
    often = make_config(bert, rows, tmp_path, train__save_strategy="steps", train__save_steps=5)
    killed(warm.play(RUN, config=often, death=("in_step", 12)))
    seldom = make_config(bert, rows, tmp_path, train__save_strategy="epoch", train__logging_steps=7)
    result = warm.play(RUN, config=seldom).result
    assert result["steps"][0] == 11
    assert result["weights"] == whole("full")["weights"]


@pytest.mark.parametrize("variant", ["full", "best", "lora"])
def test_sigterm_saves_and_stops(
    variant: str, warm: Warm, whole: Whole, bert: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(bert, rows, tmp_path, **VARIANTS[variant])
    stopped = warm.play(RUN, config=config, death=("signalled_in_step", 13)).result
    assert (stopped["error"], stopped["exit_code"]) == ("Interrupted", 130)
    assert stopped["steps"][-1] == 13, "the step is finished, and no other begun"

    result = warm.play(RUN, config=config).result
    assert result["steps"][0] == 14, "a checkpoint was saved at the step the signal came in"
    same_end(result, whole(variant))


@pytest.mark.parametrize(
    ("death", "built", "first"),
    [(("inside", "s05_tokenize"), STAGES[4:], 1), (("in_step", 13), STAGES[8:], 13)],
    ids=["in a light stage", "in training"],
)
def test_killed_as_a_flow(
    death: tuple[str, Any], built: tuple[str, ...], first: int,
    prefect_api: str, warm: Warm, whole: Whole, bert: Path, rows: Path, tmp_path: Path,
) -> None:  # fmt: skip
    config = make_config(bert, rows, tmp_path, **VARIANTS["full"])
    api = {"PREFECT_API_URL": prefect_api}
    killed(warm.play(RUN, api, config=config, engine=True, death=death))
    result = warm.play(RUN, api, config=config, engine=True).result
    assert [name for name, state in result["stages"].items() if state == "built"] == list(built)
    assert result["steps"][0] == first
    same_end(result, whole("full"))
