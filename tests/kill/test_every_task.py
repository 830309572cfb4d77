"""Each task is killed in its second epoch and goes on to the weights of a run that nobody killed."""

from pathlib import Path

import pytest

from tests.kill.warm import Warm, warm_parent
from tests.tiny import TASKS, make_task

pytestmark = pytest.mark.slow
RUN = "tests.kill.scenes:run"
SAVING = {"gradient_accumulation_steps": 1, "save_strategy": "steps", "save_steps": 2, "max_steps": 8}


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


@pytest.mark.parametrize("sampling", ["group_by_length", "random"])
@pytest.mark.parametrize("name", TASKS)
def test_killed_in_the_second_epoch(name: str, sampling: str, warm: Warm, tmp_path: Path) -> None:
    config = make_task(name, tmp_path)  # five steps an epoch, or a little more where texts become windows
    config["train"] |= SAVING | {"train_sampling_strategy": sampling, "num_train_epochs": 3}
    config["store"] = {"root": str(tmp_path / "whole")}
    whole = warm.play(RUN, config=config).result
    config["store"] = {"root": str(tmp_path / "killed")}
    ended = warm.play(RUN, config=config, death=("in_step", 8))
    assert ended.code == -9, ended.log
    result = warm.play(RUN, config=config).result
    assert result["steps"] == [7, 8]
    assert (result["weights"], result["metrics"]) == (whole["weights"], whole["metrics"])
