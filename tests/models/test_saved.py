"""The folder of a finished model may come from anywhere: what it says of itself is not simply done."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from tasks.config import ConfigError
from tasks.inference.predict import config_for
from tasks.inference.saved_model import open_saved
from tests.flow.scenes import executed
from tests.tiny import make_config

LORA = {"train__max_steps": 1, "peft": {"method": "lora", "r": 2}}
KNOWN = {
    "task": "text-classification", "head": {}, "shape": {}, "columns": {}, "processor": {}, "arguments": {},
    "options": {}, "seed": 1, "loading": {"auto_model": "AutoModelForSequenceClassification"},
}  # fmt: skip
CODE = """
from transformers import BertForSequenceClassification


class Mine(BertForSequenceClassification):
    pass
"""


def folder_of(place: Path, **change: Any) -> Path:
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps({"model_type": "bert", "auto_map": {}}))
    (place / "inference.json").write_text(json.dumps({**KNOWN, **change}))
    return place


@pytest.mark.parametrize("kind", ["this:c", "os:system", "subprocess:Popen", "AutoModelForCausalLM", "utils", 7])
def test_no_class_but_its_tasks_own_is_loaded(kind: Any, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", loading={"auto_model": kind})
    with pytest.raises(ConfigError, match=f"names {kind!r} to load it with; a model for text-classification is loaded"):
        open_saved(str(folder), config_for("rows.csv", None, []))
    assert "this" not in sys.modules


@pytest.mark.parametrize("change", [{"more": 1}, {"loading": []}, {"loading": {}}, {"task": None}])
def test_what_no_run_wrote_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not as `finetune run` writes"):
        open_saved(str(folder_of(tmp_path / "model", **change)), config_for("rows.csv", None, []))


def test_its_code_runs_only_if_the_caller_says_so(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # transformers adds the folder of such code
    base = shutil.copytree(bert, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_mine.Mine"}
    (base / "config.json").write_text(json.dumps(config))
    (base / "modeling_mine.py").write_text(CODE)
    asked = [str(tmp_path / "model"), str(rows)]
    executed(make_config(base, rows, tmp_path / "store", output_dir=asked[0], train__max_steps=1,
                        model__trust_remote_code=True))  # fmt: skip
    assert main(["predict", *asked]) == 2
    assert "if you have read that code, add model.trust_remote_code=true" in capsys.readouterr().err
    saved = open_saved(asked[0], config_for(asked[1], None, ["model.trust_remote_code=true"]))
    from tasks.inference.load_saved import load_saved

    assert type(load_saved(saved.folder, saved.loading, True)).__name__ == "Mine"


def test_the_base_of_an_adapter_is_the_one_it_was_trained_on(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = shutil.copytree(bert, tmp_path / "base")
    executed(make_config(base, rows, tmp_path / "store", output_dir=str(tmp_path / "out"), **LORA))
    assert main(["predict", str(tmp_path / "out"), str(rows)]) == 0
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (base / "model.safetensors").write_bytes(weights)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "out"), str(rows)]) == 2
    assert "has other weights (model.safetensors) than in training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "task", "says"),
    [
        (["a", "b", "a"], "text-classification", r"id2label of its config.json names several classes 'a'"),
        (["a", "b", "a"], "token-classification", r"id2label of its config.json names several classes 'a'"),
        (["a", "b"], "regression", r"its head has 2 classes \(a, b\), not a number; use --task text-classification"),
    ],
)
def test_a_head_from_elsewhere_that_does_not_fit_the_task(
    names: list[str], task: str, says: str, bert: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bert, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(names))}))
    with pytest.raises(ConfigError, match=says):
        open_saved(str(folder), config_for("rows.csv", task, []))
