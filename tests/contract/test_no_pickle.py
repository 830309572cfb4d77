"""Loading an artifact never runs code: nothing is unpickled, and nothing that could be is written."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.kill.warm import Warm, warm_parent
from tests.tiny import make_config

pytestmark = pytest.mark.slow
SCENE = "tests.contract.scenes:without_pickle"


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


def suspicious(folder: Path) -> list[Path]:
    """Files that are a pickle (of any protocol that says so) or a zip, as `torch.save` writes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    return [path for path in files if _is_pickle(path) or zipfile.is_zipfile(path)]


def _is_pickle(path: Path) -> bool:
    start = path.read_bytes()[:2]
    return len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5


def test_what_the_search_would_find(tmp_path: Path) -> None:
    import pickle

    import torch

    for i in range(5):
        (tmp_path / str(i)).write_text("{}")
    torch.save({"a": 1}, tmp_path / "zip")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    assert {path.name for path in suspicious(tmp_path)} == {"zip", "pickle"}


@pytest.mark.parametrize("peft", [{}, {"peft": {"method": "lora"}}], ids=["full", "lora"])
def test_no_run_unpickles(peft: dict[str, Any], warm: Warm, bert: Path, rows: Path, tmp_path: Path) -> None:
    store, model = tmp_path / "store", tmp_path / "model"
    config = make_config(bert, rows, store, train__save_strategy="steps", train__save_steps=3, **peft)
    config["output_dir"] = str(model)
    killed = warm.play(SCENE, config=config, death=("in_step", 13))
    assert killed.code == -9, killed.log
    assert list(store.glob("work/s09_train/*/keep/checkpoint-12/optimizer.safetensors"))
    assert suspicious(store) == []
    result = warm.play(SCENE, config=config).result
    assert result["stages"]["s08_trainer"] == "cached" and result["stages"]["s09_train"] == "built"
    assert result["shape"] == [1, 3]
    assert suspicious(store) == [] and suspicious(model) == []
