"""The folder of an adapter is a base: its layers are merged as peft merges them, its head comes along."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from flows.cli import main
from tasks.artifacts.formats import json as json_file
from tasks.config import ConfigError
from tasks.models.assemble import starting_model
from tests.flow.scenes import carried
from tests.tiny import TOPICS, make_config

QUICK = {"train__max_steps": 2}


def adapter(folder: Path, model: Any, **config: Any) -> Path:
    """An adapter of plain peft that changes something."""
    config = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["query", "dense"],
        "modules_to_save": ["classifier"],
        **config,
    }
    torch.manual_seed(3)
    adapted = get_peft_model(model, LoraConfig(**config))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(str(folder))
    return folder


def classifier(bert: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(bert, num_labels=3)


def start(done: Any) -> dict[str, torch.Tensor]:
    model, base = done._open("s06_model"), done._open("s03_base")
    loading = json_file.read(model.path("load.json"))
    return starting_model(model.view(), base.externals(), loading, None).state_dict()


def test_it_starts_where_peft_merges_to(bert: Path, rows: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", classifier(bert), task_type="SEQ_CLS")
    done = carried(make_config(folder, rows, tmp_path / "store", **QUICK))
    wanted = PeftModel.from_pretrained(classifier(bert), str(folder)).merge_and_unload().state_dict()
    found = start(done)
    assert found.keys() == wanted.keys() and all(found[name].equal(wanted[name]) for name in wanted)
    plain = classifier(bert).state_dict()
    changed = {name for name in wanted if not plain[name].equal(wanted[name])}
    assert {"classifier.weight", "bert.encoder.layer.0.attention.self.query.weight"} <= changed
    assert not any("LayerNorm" in name or "embeddings" in name for name in changed)
    shards = {name for name in done.artifacts["s06_model"].members if name.endswith(".safetensors")}
    assert shards == {"merged.safetensors", "new.safetensors", "rng.safetensors"}


def test_an_adapter_of_another_task_and_of_a_body_alone(
    bert: Path, rows: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masked = adapter(tmp_path / "masked", AutoModelForMaskedLM.from_pretrained(bert), modules_to_save=["cls"])
    config = make_config(masked, rows, tmp_path / "store", **QUICK)
    found = start(carried(config))
    wanted = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(bert), str(masked)).merge_and_unload()
    assert all(found[name].equal(tensor) for name, tensor in wanted.state_dict().items() if name.startswith("bert."))
    assert "the head of its adapter is of another task, or of other labels, and stays out: cls." in caplog.text
    body = adapter(tmp_path / "body", AutoModel.from_pretrained(bert), modules_to_save=None)
    found = start(carried({**config, "model": str(body)}))
    wanted = PeftModel.from_pretrained(AutoModel.from_pretrained(bert), str(body)).merge_and_unload()
    assert all(found[f"bert.{name}"].equal(tensor) for name, tensor in wanted.state_dict().items())


def test_a_saved_lora_model_goes_on_and_is_saved_whole(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = {**QUICK, "peft": {"method": "lora", "r": 4}}
    config = make_config(bert, rows, tmp_path / "store", output_dir=str(tmp_path / "one"), **lora)
    first = carried(config)
    assert (tmp_path / "one" / "adapter_model.safetensors").exists()
    more = {**config, "model": str(tmp_path / "one"), "output_dir": str(tmp_path / "two")}
    second = carried(more)
    wanted = first.model.merge_and_unload().state_dict()
    found = start(second)
    assert all(found[name].equal(wanted[name]) for name in wanted)
    assert second.labels == list(TOPICS) and type(second.model).__name__.startswith("PeftModel")
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "two")
    assert saved.config.id2label == dict(enumerate(TOPICS)) and not (tmp_path / "two" / "adapter_config.json").exists()
    merged = second.model.merge_and_unload().state_dict()
    assert all(torch.equal(merged[name], tensor) for name, tensor in saved.state_dict().items())
    for folder in ("one", "two"):
        assert main(["evaluate", str(tmp_path / folder), str(rows), "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == 96


def test_an_adapter_from_elsewhere_is_asked(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = adapter(tmp_path / "adapter", classifier(bert), task_type="SEQ_CLS")
    assert main(["predict", str(folder), str(rows), "--task", "text-classification"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert row["prediction"] in ("LABEL_0", "LABEL_1", "LABEL_2")
    assert main(["lint", "--json", write(tmp_path, make_config(folder, rows, tmp_path / "store"))]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["tokens"]["max_length"] == 64


def test_replaced_tokens_and_labels_of_another_number(bert: Path, rows: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", AutoModelForSequenceClassification.from_pretrained(bert, num_labels=7))
    found = start(carried(make_config(folder, rows, tmp_path / "store", **QUICK)))
    assert found["classifier.weight"].shape == (3, 32)
    config = make_config(folder, rows, tmp_path / "store", **QUICK, task="token-detection")
    found = start(carried(config))
    merged = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(bert, num_labels=7), str(folder)
    ).merge_and_unload().state_dict()  # fmt: skip
    name = "bert.encoder.layer.1.output.dense.weight"
    assert found[f"generator.{name}"].equal(merged[name]) and found[f"discriminator.{name}"].equal(merged[name])


def write(folder: Path, config: Any) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder / "config.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"base_model_name_or_path": "/gone/base"}, "is an adapter to '/gone/base', which cannot be used: there is no"),
        ({"base_model_name_or_path": None}, "names no base"),
        ({"pickled": True}, "has no adapter_model.safetensors but adapter_model.bin, a pickle, which is never loaded"),
        ({"other": True}, "its adapter is to layers the base does not have|its adapter is to a base of other sizes"),
    ],
)
def test_what_cannot_be(change: dict[str, Any], says: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", classifier(bert))
    if "pickled" in change:
        (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    elif "other" in change:
        from tests.tiny import make_electra

        shutil.copytree(make_electra(tmp_path / "electra"), tmp_path / "other")
        change = {"base_model_name_or_path": str(tmp_path / "other")}
    config = json.loads((folder / "adapter_config.json").read_text()) | change
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=says):
        carried(make_config(folder, rows, tmp_path / "store", **QUICK))
