"""A chain that is killed in its second step goes on within that step, to the weights of one that nobody killed."""

from pathlib import Path
from typing import Any

import pytest

from tests.kill.warm import warm_parent
from tests.tiny import make_chain, make_continual

pytestmark = pytest.mark.slow
SCENE = "tests.kill.scenes:chain"


def test_killed_in_the_second_step(tmp_path: Path) -> None:
    warm, config = warm_parent(), make_chain(tmp_path)
    config["train"] |= {"save_strategy": "steps", "save_steps": 1, "max_steps": 3, "gradient_accumulation_steps": 1}

    def played(store: str, **more: Any) -> Any:
        return warm.play(SCENE, config={**config, "store": str(tmp_path / store)}, **more)

    whole = played("whole").result
    assert whole["steps"] == [1, 2, 3, 1, 2, 3]
    ended = played("killed", death=("in_step", 6))
    assert ended.code == -9, ended.log
    result = played("killed").result
    assert result["steps"] == [3], "the first step is cached, and the second goes on from its checkpoint"
    assert set(result["runs"][0]["stages"].values()) == {"cached"}
    for name in ("keys", "weights", "metrics"):
        assert [run[name] for run in result["runs"]] == [run[name] for run in whole["runs"]], name


def test_killed_in_the_third_task(tmp_path: Path) -> None:
    """Earlier tasks are kept and measured: what that needs of them is found again."""
    warm, config = warm_parent(), make_continual(tmp_path, 3)
    config["train"] |= {"save_strategy": "steps", "save_steps": 1, "max_steps": 3}
    config["methods"] = {"ewc": {"ewc_lambda": 10.0, "samples": 8}, "rehearsal": {"rows": 8}}

    def played(store: str, **more: Any) -> Any:
        return warm.play(SCENE, config={**config, "store": str(tmp_path / store)}, **more)

    whole = played("whole").result
    assert whole["steps"] == [1, 2, 3] * 3
    ended = played("killed", death=("in_step", 9))
    assert ended.code == -9, ended.log
    result = played("killed").result
    assert result["steps"] == [3], "the first two are cached, and the third goes on from its checkpoint"
    for name in ("keys", "weights", "metrics"):
        assert [run[name] for run in result["runs"]] == [run[name] for run in whole["runs"]], name
