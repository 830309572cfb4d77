"""One task after another: each is an ordinary run from the model before, and earlier tasks are measured after it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.chain.continual import after, alone
from flows.chain.execute import execute_chain
from flows.chain.result import Continual
from flows.cli import main
from tasks.config import ConfigError, TrainingError, load_chain
from tasks.results.finetuned import FineTuned
from tasks.results.forgetting_matrix import ForgettingMatrix
from tests.flow.scenes import executed, without_prefect
from tests.tiny import NAMES, make_continual


def chained(config: dict[str, Any], *overrides: str) -> Continual:
    with without_prefect():
        found = execute_chain(load_chain(config, overrides))
    assert isinstance(found, Continual)
    return found


def states(done: FineTuned) -> set[str]:
    return {entry.state for entry in done.stages}


def test_the_matrix_is_that_of_the_runs_and_their_guards(tmp_path: Path) -> None:
    config = make_continual(tmp_path, output_dir=str(tmp_path / "out"))
    done = chained(config)
    first, second = done.steps
    assert done.names == ("topics", "intents") and done.final is second
    assert done.matrix.values[0][0] == first.metrics["test_accuracy"]
    assert done.matrix.values[1] == [second.metrics["guard_topics_accuracy_after"], second.metrics["test_accuracy"]]
    assert second.metrics["guard_topics_accuracy_before"] == first.metrics["test_accuracy"]
    written = json.loads((tmp_path / "out/forgetting.json").read_text())
    assert written == done.matrix.to_json() == done.summary()["forgetting"]
    assert (tmp_path / "out/forgetting.png").read_bytes().startswith(b"\x89PNG")
    assert "| after | topics (accuracy) | intents (accuracy) |" in (tmp_path / "out/forgetting.md").read_text()
    guard = {"name": "topics", "model": str(first.path), "task": "text-classification"}
    data = {**config["data"], "train": config["continual"][0]}
    plain = {name: value for name, value in config.items() if name != "continual"} | {
        "model": str(first.path), "name": "intents", "output_dir": str(second.path),
        "data": {**config["data"], "train": config["continual"][1]}, "eval": {"guard": [{**guard, "data": data}]},
    }  # fmt: skip
    assert states(executed(plain)) == {"cached"}, "the same run as when it is made alone"
    assert {state for run in chained(config).steps for state in states(run)} == {"cached"}


@pytest.mark.slow
def test_a_plan_of_finished_tasks_finds_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, file = make_continual(tmp_path, 3, methods={"l2_to_start": 0.1}), tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config))

    def planned() -> list[dict[str, Any]]:
        capsys.readouterr()
        assert main(["continual", str(file), "--plan", "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])["steps"]

    assert [step["waits_for"] for step in planned()] == [None, "topics", "intents"]
    chained(config)
    assert {entry["state"] for step in planned() for entry in step["stages"]} == {"hit"}
    assert {entry["of"] for entry in planned()[2]["stages"]} == {"", "topics", "intents"}


@pytest.mark.slow
def test_an_adapter_for_each_task_forgets_nothing(tmp_path: Path) -> None:
    done = chained(make_continual(tmp_path, 3, peft={"method": "lora", "r": 2}), "continual.start=base")
    column = [row[0] for row in done.matrix.values]
    assert len({*column}) == 1 and done.matrix.forgetting == done.matrix.backward_transfer == 0
    bases = {run._open("s03_base").ref.digest for run in done.steps}
    assert len(bases) == 1, "all start from the base"
    assert done.matrix.forward_transfer == 0


@pytest.mark.slow
def test_trained_alone_shows_what_earlier_tasks_gave(tmp_path: Path) -> None:
    config = make_continual(tmp_path)
    done = chained(config, "continual.alone=true")
    alone = {name: value for name, value in config.items() if name != "continual"}
    run = executed(alone | {"data": {**config["data"], "train": config["continual"][1]}, "name": "x"})
    assert "built" not in {entry.state for entry in run.stages if entry.stage == "s09_train"}
    assert done.matrix.alone == [done[0].metrics["test_accuracy"], run.metrics["test_accuracy"]]
    expected = done[1].metrics["test_accuracy"] - run.metrics["test_accuracy"]
    assert done.matrix.forward_transfer == pytest.approx(expected)


@pytest.mark.slow
def test_too_much_forgotten_ends_the_chain_or_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_continual(tmp_path, eval={"best": "loss"}) | {"output_dir": str(tmp_path / "out")}
    config["train"] |= {"max_steps": 8, "learning_rate": 0.05}
    with pytest.raises(
        TrainingError, match="continual: after intents, more is forgotten than max_forgetting 0: topics"
    ):
        chained(config, "continual.max_forgetting=0.0")
    assert (tmp_path / "out/forgetting.json").exists() and (tmp_path / "out/intents/config.json").exists()
    done = chained(config, "continual.max_forgetting=0.0", "continual.on_forgetting=warn")
    assert "more is forgotten" in caplog.text and {state for run in done.steps for state in states(run)} == {"cached"}


def test_tasks_that_cannot_be_measured_again_are_refused(tmp_path: Path) -> None:
    config = make_continual(tmp_path)
    with pytest.raises(ConfigError, match=r"continual\[1\].task: token-detection cannot be measured again"):
        chained(config, "continual[1].task=token-detection")


def test_what_is_kept_is_filled_in(tmp_path: Path) -> None:
    loaded = load_chain(make_continual(tmp_path, methods={"ewc": 5.0, "freeze": 1}, peft=False))
    first, second = loaded.steps
    assert set(alone(first).run.config.methods) == {"freeze"}
    assert loaded.continual is not None
    told = after(second, {"topics": (first, tmp_path / "topics")}, loaded.continual).run.config
    [kept] = told.methods["ewc"]["previous"]
    assert (told.methods["ewc"]["ewc_lambda"], kept["name"], kept["model"]) == (5.0, "topics", str(tmp_path / "topics"))
    assert told.eval.guard[0].name == "topics" and kept["data"]["train"] == first.run.config.data.train
    own = {"ewc": {"previous": [{"model": "mine"}]}}
    [step, _] = load_chain(make_continual(tmp_path, methods=own)).steps
    assert set(alone(step).run.config.methods) == {"ewc"}, "an earlier task that the user names is kept"


def test_nothing_to_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"continual\[0\].methods.ewc.lamda: .*did you mean"):
        chained(make_continual(tmp_path, methods={"ewc": {"lamda": 5.0}}))
    with pytest.raises(ConfigError, match=r"continual\[0\].methods.ewc: has no earlier task to keep"):
        chained(make_continual(tmp_path, methods={"ewc": 5.0}), "continual.start=base")


def matrix(values: list[list[float | None]], upward: bool = True) -> ForgettingMatrix:
    size = len(values)
    return ForgettingMatrix(NAMES[:size], ["m"] * size, [upward] * size, values, [0.5] * size)


def test_the_figures_are_those_of_the_definitions() -> None:
    found = matrix([[0.9], [0.7, 0.8], [0.6, 0.85, 0.7]])
    assert found.average == pytest.approx((0.6 + 0.85 + 0.7) / 3)
    assert found.forgetting == pytest.approx(((0.9 - 0.6) + (0.8 - 0.85)) / 2)
    assert found.backward_transfer == pytest.approx(((0.6 - 0.9) + (0.85 - 0.8)) / 2)
    assert found.forward_transfer == pytest.approx(((0.8 - 0.5) + (0.7 - 0.5)) / 2)
    assert matrix([[2.0], [3.0, 1.0]], upward=False).forgetting == pytest.approx(1.0), "a loss that rose"
    assert matrix([[0.9], [None, 0.8]]).forgetting is None
    mixed = ForgettingMatrix(NAMES[:2], ["accuracy", "loss"], [True, False], [[0.9], [0.8, 1.0]], [None, None])
    assert mixed.average is None and mixed.forward_transfer is None and mixed.forgetting == pytest.approx(0.1)
