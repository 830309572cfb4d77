"""Who goes on, at what cost, and what early ranking is worth; the leaderboard; slots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from tasks.config import load_sweep
from tasks.config.sections.sweep import Halving
from tasks.runtime.parallel.slots import slot
from tasks.sweep.board import Outcome, as_table, leaderboard
from tasks.sweep.cells import cells_of
from tasks.sweep.halving import agreement, shares, survivors


def cost(groups: int, halving: Halving) -> float:
    """Share of the full grid's steps."""
    spent, before = 0.0, 0.0
    alive = list(range(groups))
    for share in shares(groups, halving):
        spent += len(alive) * (share - before)
        before = share
        alive = survivors({group: float(group) for group in alive}, halving.factor or 2, True)
    return spent / groups


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_twelve_cells_cost_less_than_half(factor: int) -> None:
    assert cost(12, Halving(factor=factor)) <= 0.45


@given(groups=st.integers(1, 60), factor=st.integers(2, 5))
def test_the_last_rung_is_the_whole_training(groups: int, factor: int) -> None:
    found = shares(groups, Halving(factor=factor))
    assert found[-1] == 1.0 and found == sorted(set(found)) and found[0] > 0


def test_the_best_go_on_and_failures_never() -> None:
    assert survivors({0: 0.1, 1: None, 2: 0.9, 3: 0.5, 4: 0.5}, 2, True) == [2, 3, 4]
    assert survivors({0: 0.1, 1: None, 2: 0.9, 3: 0.5}, 2, False) == [0, 3]
    assert survivors({0: None, 1: None}, 2, True) == []
    assert survivors({0: 0.3, 1: 0.3, 2: 0.3}, 3, True, {0: 1.2, 1: 0.8, 2: 1.0}) == [1]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_agreement_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    early, late = ({at: float(pair[side]) for at, pair in enumerate(pairs)} for side in (0, 1))
    found = agreement(early, late)
    if len(set(early.values())) == 1 or len(set(late.values())) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(list(early.values()), list(late.values())).statistic, abs=1e-4)


def test_the_leaderboard_ranks_what_finished_and_keeps_what_did_not() -> None:
    said = {"grid": {"train.optim": ["sgd", "adamw_torch", "adafactor"]}, "seeds": [1, 2]}
    cells = cells_of(load_sweep({"model": "m", "data": "d", "sweep": said}))
    values = [0.5, 0.7, 0.8, 0.9, 0.99]
    outcomes = {at: Outcome("completed", {"eval_accuracy": value}, steps=(9, 9)) for at, value in enumerate(values)}
    outcomes[5] = Outcome("killed", error="killed (signal 9)")
    rows = leaderboard(cells, outcomes, "eval_accuracy", True)
    assert [(row.rank, row.group) for row in rows] == [(1, 1), (2, 0), (None, 2)]
    assert [row.state for row in rows] == ["completed", "completed", "killed"]
    assert rows[0].value == pytest.approx(0.85) and rows[0].spread == pytest.approx(0.0707, abs=1e-4)
    assert "seed" not in rows[0].overrides and rows[0].seeds == 2
    table = as_table(rows)
    assert table["error"].to_pylist() == [None, None, "killed (signal 9)"]
    assert table["train.optim"].to_pylist() == ["adamw_torch", "sgd", "adafactor"]


def test_a_seed_without_the_number_keeps_its_group_from_the_ranks() -> None:
    cells = cells_of(load_sweep({"model": "m", "data": "d", "sweep": {"grid": {"peft": ["none"]}, "seeds": [1, 2]}}))
    outcomes = {0: Outcome("completed", {"eval_roc_auc": 1.0}), 1: Outcome("completed", {"eval_loss": 0.1})}
    [row] = leaderboard(cells, outcomes, "eval_roc_auc", True)
    assert (row.rank, row.value, row.state) == (None, None, "completed")


HOLD = "import sys, time; from pathlib import Path; from tasks.runtime.parallel.slots import slot\n" \
       "with slot({'cpu': 1}, lambda: None, Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"  # fmt: skip


def test_a_killed_holder_frees_its_slot(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    waited: list[bool] = []

    def waiting() -> None:
        waited.append(True)
        holder.kill()

    with slot({"cpu": 1}, waiting, tmp_path) as device:
        assert device == "cpu" and waited == [True]
    holder.wait()
