"""`finetune export`: copies, merged adapters, other precisions, ONNX, the hub; and what is refused."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from flows.cli import main
from tasks.config import ConfigError
from tasks.export.onnx import check_possible
from tasks.export.parity import BOUNDS
from tests.flow.scenes import executed, files
from tests.hub import Hub, hub_at, in_use
from tests.tiny import make_config, make_task


@pytest.fixture(scope="module")
def home(bert: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two trainings: `whole`, in the store only, and `lora`, also in a folder."""
    folder = tmp_path_factory.mktemp("export")
    config = make_config(bert, rows, folder / "store", train__max_steps=2)
    executed(config, "name=whole")
    executed(config, "name=lora", "peft=lora", "peft.r=2", "train.learning_rate=0.1", f"output_dir={folder / 'lora'}")
    return folder


def exported(home: Path, *arguments: str) -> int:
    return main(["export", *arguments, "--store", str(home / "store")])


def said(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert exported(home, *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_in_the_store_only(home: Path, tmp_path: Path) -> None:
    assert exported(home, "whole", "-o", str(tmp_path / "out")) == 0
    names = files(tmp_path / "out").keys()
    assert {"model.safetensors", "tokenizer.json", "README.md", "inference.json", "trainer_state.json"} <= names
    assert not names & {"finetune.json", "report.html", "config.resolved.yaml"}  # they have paths of this machine
    assert "report.html" not in (tmp_path / "out" / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not [name for name, content in files(tmp_path / "out").items() if str(home).encode() in content]


@pytest.mark.parametrize("run", ["lora", "folder"])
def test_merged(run: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    done = said(home, capsys, str(home / "lora") if run == "folder" else run, "--merge", "-o", str(out))
    assert 0 < done["difference"] < 1e-4
    assert done["notes"][0].startswith("--merge: on 4 rows of test its logits differ from the trained model's by ")
    names = files(out).keys()
    assert "model.safetensors" in names and not {name for name in names if name.startswith("adapter")}
    card = (out / "README.md").read_text()
    assert "library_name: transformers" in card and "pipeline('text-classification', '.')" in card
    told = pipeline("text-classification", str(out))("balen fruit koral")
    (tmp_path / "rows.csv").write_text("text\nbalen fruit koral\n")
    for folder in (out, home / "lora"):
        assert main(["predict", str(folder), str(tmp_path / "rows.csv")]) == 0
        assert json.loads(capsys.readouterr().out)["score"] == pytest.approx(told[0]["score"], abs=1e-4)


@pytest.mark.parametrize(("run", "more"), [("whole", ()), ("lora", ("--merge",))])
def test_another_precision(
    run: str, more: tuple[str, ...], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    done = said(home, capsys, run, *more, "--dtype", "bfloat16", "-o", str(out))
    assert 1e-4 < done["difference"] < 5e-2
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((out / "inference.json").read_text())["loading"]["dtype"] == "bfloat16"
    again = said(home, capsys, str(out), "--dtype", "float32", "-o", str(tmp_path / "again"))  # an export of an export
    assert again["difference"] < 5e-2 and "4 made-up rows" in again["notes"][0]


def test_a_generation_config_and_other_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_task("sequence-sequence", tmp_path, rows=20)
    config["train"] |= {"max_steps": 1, "predict_with_generate": False}
    executed(config, "name=texts", f"output_dir={tmp_path / 'out'}", "peft=lora", "eval.splits=[validation]")
    done = said(tmp_path, capsys, "texts", "--merge", "-o", str(tmp_path / "merged"))
    assert done["difference"] < 1e-4
    one, other = ((tmp_path / name / "generation_config.json").read_bytes() for name in ("out", "merged"))
    assert one == other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["whole"], "give -o DIR, --push NAME, or both"),
        (["whole", "-o", "OUT", "--private"], "--private: has no effect without --push"),
        (["whole", "-o", "OUT", "data.train=x"], "data.train: has no effect on an export; valid is model.trust_remote"),
        (["whole", "-o", "OUT", "--merge"], "--merge: this is a whole model, not an adapter"),
        (["lora", "-o", "OUT", "--dtype", "float16"], "--dtype: this is an adapter, whose base is elsewhere;"),
        (["whole", "-o", "OUT", "--onnx", "--dtype", "float16"], "--onnx: writes float32, not float16"),
        (["whol-e", "-o", "OUT"], "RUN: there is no 'whol-e' in the store at .*; did you mean 'whole'"),
        (["BASE", "-o", "OUT"], "has no inference.json, which `finetune run` writes"),
        (["whole", "-o", "HOME"], "-o: .* exists and is not an empty folder; choose another"),
        (["whole", "--push", "a name"], "--push: 'a name' is not a valid name on the hub; give owner/name"),
        (["whole", "--push", "acme/it"], "--push: HF_HUB_OFFLINE is set"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported(
    arguments: list[str], message: str, home: Path, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"OUT": tmp_path / "out", "HOME": home, "BASE": bert}
    assert exported(home, *(str(places.get(each, each)) for each in arguments)) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not [*tmp_path.iterdir()] and not [*home.glob(".finetune*")]


def test_an_export_that_computes_something_else_is_not_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for dtype in BOUNDS:
        monkeypatch.setitem(BOUNDS, dtype, 1e-6)
    assert exported(home, "whole", "--dtype", "bfloat16", "-o", str(tmp_path / "out")) == 2
    assert re.search(
        r"differ from the trained model's by .* \(bound 1e-06\); nothing was written", capsys.readouterr().err
    )
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_is_incomplete(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(home / "lora", tmp_path / "lora")
    (folder / "finetune.json").write_text(json.dumps({"key": None, "run": "r", "files": {}}))
    assert exported(home, str(folder), "-o", str(tmp_path / "out")) == 2
    assert "RUN: a run was killed while it wrote" in capsys.readouterr().err


def test_results_that_were_removed(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(home / "store" / "runs", tmp_path / "store" / "runs")
    assert exported(tmp_path, "whole", "-o", str(tmp_path / "out")) == 2
    assert "RUN: 'whole' is completed: its results were removed from the store" in capsys.readouterr().err


def test_onnx(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = said(home, capsys, "lora", "--onnx", "-o", str(tmp_path / "out"))
    assert done["difference"] < 1e-4 and "on 4 rows of test" in done["notes"][0]
    assert not {"inference.json", "model.safetensors", "adapter_config.json"} & files(tmp_path / "out").keys()
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")(
        ["bal", "bal fruit ken sos"], padding=True, return_tensors="np"
    )
    (found,) = session.run(["logits"], {each.name: tokens[each.name] for each in session.get_inputs()})
    assert found.shape == (2, 3)
    assert "InferenceSession" in (tmp_path / "out" / "README.md").read_text()


def test_onnx_without_its_packages(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tasks.export.onnx.find_spec", lambda name: None)
    assert exported(home, "whole", "--onnx", "-o", str(tmp_path / "out")) == 2
    assert "pip install onnx onnxscript onnxruntime" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="language-generation is not a single graph"):
        check_possible("language-generation", "AutoModelForCausalLM", None)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub to which the token in the environment can write."""
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    with hub_at(tmp_path / "hub") as found, in_use(found, tmp_path / "cache", monkeypatch):
        found.writer = "hf_canary"
        yield found


def test_push(home: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = hub.root / "models" / "acme" / "topics"
    done = said(home, capsys, "lora", "--push", "acme/topics", "--private")
    assert done["url"].startswith(f"{hub.url}/acme/topics/commit/") and done["output"] is None
    assert any("base is the local folder" in line for line in done["notes"])
    assert "adapter_model.safetensors" in files(there) and hub.private == {"acme/topics": "hf_canary"}
    done = said(home, capsys, "lora", "--merge", "--push", "acme/topics", "-o", str(tmp_path / "out"))
    assert files(there) == files(tmp_path / "out")  # the adapter's weights are not left beside the whole model's
    assert AutoModelForSequenceClassification.from_pretrained("acme/topics", cache_dir=tmp_path / "got").num_labels == 3


def test_a_push_that_fails_loses_nothing(
    home: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.writer = "another"
    assert exported(home, "whole", "--push", "acme/topics", "-o", str(tmp_path / "out")) == 2
    told = capsys.readouterr().err
    assert "the hub refuses 'acme/topics' (401): the token cannot write there; the export is in" in told
    assert "hf_canary" not in told and "model.safetensors" in files(tmp_path / "out")
    hub.writer, hub.failing = "hf_canary", ("commit", 500)
    assert exported(home, str(tmp_path / "out"), "--push", "acme/topics") == 5
    assert "nothing is lost; run the same command again" in capsys.readouterr().err
    hub.failing = None
    assert exported(home, str(tmp_path / "out"), "--push", "acme/topics") == 0
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    assert exported(home, "whole", "--push", "acme/topics") == 2
    assert "--push: there is no token; set HF_TOKEN" in capsys.readouterr().err
