"""A checkpoint folder that was damaged or made up is refused by name, before a training starts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tasks.artifacts.formats.manifest import commit
from tasks.artifacts.store import Store
from tasks.config import ConfigError
from tasks.runtime.resuming import checkpoint_files
from tasks.training import state
from tasks.training.adopt import adopt, take_over
from tasks.training.checkpoints import STATE, checkpoints, newest_whole

ODD = ["", "[]", "{}", "some text", '"3"', "null", "3", "[" * 5000, '{"global_step": -3}', '{"global_step": 2.5}',
       '{"global_step": 0}', '{"global_step": true}', '{"global_step": "3"}', '{"global_step": "../../x"}',
       '{"global_step": 3, "epoch": "one"}', '{"global_step": 3, "epoch": NaN}', '{"global_step": 3, "max_steps": []}',
       '{"global_step": 3, "log_history": {}}', '{"global_step": 3, "best_model_checkpoint": 4}']  # fmt: skip


def checkpoint(folder: Path, step: int = 3, told: str | None = None, manifest: bool = False) -> Path:
    """A checkpoint of a one-parameter model, as this project writes it."""
    folder.mkdir(parents=True)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    state.save_optimizer(optimizer, folder)
    state.write_json({"last_epoch": step, "_step_count": step + 1}, folder / "scheduler.json")
    for name in ("rng", "epoch_rng"):
        state.save_rng(state.capture_rng(), folder, name)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / STATE).write_text(json.dumps({"global_step": step, "epoch": 1.0}) if told is None else told)
    if manifest:
        commit(folder)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Callable[[Path], dict[str, Path]]:
    return lambda folder: checkpoint_files(str(folder), Store(str(tmp_path / "store")))


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("told", ODD, ids=range(len(ODD)))
def test_an_odd_state_is_refused(told: str, manifest: bool, tmp_path: Path, files: Any) -> None:
    folder = checkpoint(tmp_path / "in" / "checkpoint-3", told=told, manifest=manifest)
    for given in (folder, folder.parent):
        with pytest.raises(ConfigError, match=r"train.resume_from_checkpoint: .*trainer_state.json is not the "):
            files(given)
    with pytest.raises(ConfigError, match="is not the state of a Trainer"):
        adopt({path.name: path for path in folder.iterdir()}, tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("told", ODD, ids=range(len(ODD)))
def test_a_trainings_own_checkpoint_with_an_odd_state_is_passed_over(told: str, tmp_path: Path) -> None:
    good = checkpoint(tmp_path / "checkpoint-2", 2, manifest=True)
    bad = checkpoint(tmp_path / "checkpoint-3", told=told, manifest=True)
    assert newest_whole(tmp_path) == good and not bad.exists()


def test_a_damaged_checkpoint_of_ours_is_refused(tmp_path: Path, files: Any) -> None:
    folder = checkpoint(tmp_path / "checkpoint-3", manifest=True)
    assert files(folder)
    (folder / "model.safetensors").write_bytes(b"else")
    with pytest.raises(ConfigError, match="is damaged: its files differ from those listed in its"):
        files(folder)


def test_names_that_only_look_like_checkpoints(tmp_path: Path, files: Any) -> None:
    whole = checkpoint(tmp_path / "checkpoint-3")
    for name in ("checkpoint-²", "checkpoint-٣", "checkpoint-", "checkpoint-last", "checkpoint--4", "checkpoint-4.5"):
        checkpoint(tmp_path / name, 9)
    assert checkpoints(tmp_path) == [whole] and files(tmp_path)[STATE].parent == whole


def test_links_to_checkpoints(tmp_path: Path, files: Any) -> None:
    real = checkpoint(tmp_path / "elsewhere" / "real", 5)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "checkpoint-5").symlink_to(real)
    (tmp_path / "in" / "checkpoint-6").symlink_to(tmp_path / "gone")
    assert files(tmp_path / "in").keys() == files(tmp_path / "in" / "checkpoint-5").keys() == files(real).keys()
    assert newest_whole(tmp_path / "in") is None  # it has no manifest
    assert real.is_dir() and not (tmp_path / "in" / "checkpoint-5").exists()


@pytest.mark.parametrize(
    "text", ["[]", "{}", "null", "text", '{"state": [], "param_groups": [1]}', '{"last_epoch": "x"}']
)
@pytest.mark.parametrize("name", ["optimizer.json", "scheduler.json", "rng.json", "epoch_rng.json"])
def test_odd_states_of_optimizer_scheduler_and_generators(name: str, text: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint-3")
    (folder / name).write_text(text)
    drawn = torch.random.get_rng_state()
    with pytest.raises(ConfigError, match="states of optimizer, scheduler and random generators are not"):
        adopt({path.name: path for path in folder.iterdir()}, tmp_path / "work")
    assert torch.random.get_rng_state().equal(drawn) and newest_whole(tmp_path / "work") is None


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "rng.safetensors"])
def test_bytes_that_are_no_safetensors(name: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint-3")
    (folder / name).write_bytes(b"no tensors")
    plan = {"steps": {"total": 9, "steps_per_epoch": 3}, "arguments": {}}
    with pytest.raises(ConfigError, match=r"train\.resume_from_checkpoint"):
        take_over({path.name: path for path in folder.iterdir()}, tmp_path / "work", plan, torch.nn.Linear(1, 1))
    assert newest_whole(tmp_path / "work") is None


def test_fields_of_another_version_of_the_library_are_left_out(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint-3", told='{"global_step": 3, "epoch": 1, "of_the_future": []}')
    adopted = adopt({path.name: path for path in folder.iterdir()}, tmp_path / "work")
    assert (
        "of_the_future" not in json.loads((adopted / STATE).read_text()) and newest_whole(tmp_path / "work") == adopted
    )
