"""The folder of an adapter is a base: its layers are merged as peft merges them, its head comes along."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from flows.cli import main
from tasks.artifacts.formats import json as json_file
from tasks.config import ConfigError, ModelConfig
from tasks.inference.load_saved import load_saved
from tasks.inference.predict import config_for
from tasks.inference.saved_model import open_saved
from tasks.models.assemble import starting_model
from tasks.models.bases.base import base_files, link
from tasks.models.bottleneck import BottleneckConfig
from tasks.models.folding import fold
from tests.flow.scenes import executed
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
    named = {
        "num_labels": 3,
        "id2label": dict(enumerate(TOPICS)),
        "label2id": {name: i for i, name in enumerate(TOPICS)},
    }
    AutoConfig.from_pretrained(bert, **named).save_pretrained(folder)
    done = executed(make_config(folder, rows, tmp_path / "store", **QUICK))
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
    found = start(executed(config))
    wanted = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(bert), str(masked)).merge_and_unload()
    assert all(found[name].equal(tensor) for name, tensor in wanted.state_dict().items() if name.startswith("bert."))
    assert "its adapter's head is for another task or other labels and is not used: cls." in caplog.text
    body = adapter(tmp_path / "body", AutoModel.from_pretrained(bert), modules_to_save=None)
    found = start(executed({**config, "model": str(body)}))
    wanted = PeftModel.from_pretrained(AutoModel.from_pretrained(bert), str(body)).merge_and_unload()
    assert all(found[f"bert.{name}"].equal(tensor) for name, tensor in wanted.state_dict().items())


def test_a_saved_lora_model_goes_on_and_is_saved_whole(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = {**QUICK, "peft": {"method": "lora", "r": 4}}
    config = make_config(bert, rows, tmp_path / "store", output_dir=str(tmp_path / "one"), **lora)
    first = executed(config)
    assert (tmp_path / "one" / "adapter_model.safetensors").exists()
    more = {**config, "model": str(tmp_path / "one"), "output_dir": str(tmp_path / "two")}
    second = executed(more)
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


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("method", "quant"),
    [
        ({"method": "lora", "r": 4}, True),
        ({"method": "bottleneck", "reduction_factor": 4}, False),
    ],
    ids=["LoRA, quantized", "bottleneck"],
)
def test_an_adapter_is_trained_on_and_stays_one(
    method: dict[str, Any], quant: Any, bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(bert, rows, tmp_path / "store", output_dir=str(tmp_path / "one"), peft=method, quant=quant,
                         **QUICK)  # fmt: skip
    executed(config)
    more = {**config, "model": str(tmp_path / "one"), "output_dir": str(tmp_path / "two"), "peft": "continue"}
    still = {**more, "train": {**config["train"], "learning_rate": 1e-30}, "output_dir": str(tmp_path / "still")}
    executed(still)
    done, again = executed(more), {**more, "model": str(tmp_path / "two"), "output_dir": str(tmp_path / "three")}
    one, same, two = (tensors(tmp_path / name) for name in ("one", "still", "two"))
    assert one.keys() == same.keys() == two.keys() and any("classifier" in name for name in one)
    assert all(one[name].allclose(same[name], rtol=0, atol=1e-20) for name in one), "it starts where the first ended"
    assert any(not one[name].equal(two[name]) for name in one)
    first, second = (json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("one", "two"))
    for config in (first, second):  # peft holds them as a set
        config["target_modules"] = sorted(config["target_modules"])
    assert second == first and first["base_model_name_or_path"] == str(bert), "its settings and base are kept"
    assert not list((tmp_path / "two").glob("model*.safetensors"))
    trainable = sum(each.numel() for each in done.model.parameters() if each.requires_grad)
    assert trainable == sum(each.numel() for each in two.values())
    assert main(["evaluate", str(tmp_path / "two"), str(rows), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == 96
    executed(again)
    assert tensors(tmp_path / "three").keys() == one.keys(), "and again"


def test_the_head_of_an_adapter_that_is_trained_on_is_matched_to_the_classes(
    bert: Path, rows: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = adapter(tmp_path / "adapter", classifier(bert), task_type="SEQ_CLS")
    turned = dict(enumerate(reversed(TOPICS)))
    AutoConfig.from_pretrained(bert, id2label=turned).save_pretrained(folder)
    config = make_config(folder, rows, tmp_path / "store", peft="continue", train__learning_rate=1e-30, **QUICK)
    done = executed(config)
    assert done.labels == list(TOPICS)
    head = "base_model.model.classifier.weight"
    found = load_file(done._open("s09_train").path("adapter_model.safetensors"))
    assert found[head].equal(tensors(folder)[head].flip(0))
    assert all(found[name].equal(tensor) for name, tensor in tensors(folder).items() if "lora_" in name)
    masked = adapter(tmp_path / "masked", AutoModelForMaskedLM.from_pretrained(bert), modules_to_save=["cls"])
    done = executed({**config, "model": str(masked)})
    found = load_file(done._open("s09_train").path("adapter_model.safetensors"))
    assert head in found and not any(".cls." in name for name in found)
    assert "its adapter's head is for another task or other labels and is not used: cls." in caplog.text
    assert all(found[name].equal(tensor) for name, tensor in tensors(masked).items() if "lora_" in name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "{bert}"}, "peft.method: continue trains the adapter in model.name's folder on, and there is none"),
        ({"peft": {"method": "continue", "r": 4}}, "peft.r: valid only with peft.method: lora"),
        ({"task": "token-detection"}, "peft.method: continue is for tasks that train one model"),
        ({"model": "{body}"}, "model.name: its adapter has other layers than BertForSequenceClassification"),
        ({"model": "{prompt}"}, "peft.method: continue is for adapters in layers, and that of model.name is a prompt_"),
        ({"model": "{bottleneck}", "export": {"merge": True}}, "export.merge: .*bottleneck cannot be merged"),
        ({"model": "{bottleneck}", "peft": "none"}, r"its adapter \(BOTTLENECK\) cannot be merged .*peft: continue"),
    ],
)
def test_what_cannot_be_trained_on(change: dict[str, Any], says: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    folders = {"bert": bert, "body": adapter(tmp_path / "body", AutoModel.from_pretrained(bert), modules_to_save=None)}
    for kind, config in {"prompt": PromptTuningConfig(num_virtual_tokens=3, task_type="SEQ_CLS"),
                         "bottleneck": BottleneckConfig(task_type="SEQ_CLS")}.items():  # fmt: skip
        get_peft_model(classifier(bert), config).save_pretrained(tmp_path / kind)
        folders[kind] = tmp_path / kind
    base = change.get("model", "{bottleneck}").format(**folders)
    given = make_config(Path(base), rows, tmp_path / "store", peft="continue", **QUICK)
    given |= {name: value for name, value in change.items() if name != "model"}
    with pytest.raises(ConfigError, match=says):
        executed(given)


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
    found = start(executed(make_config(folder, rows, tmp_path / "store", **QUICK)))
    assert found["classifier.weight"].shape == (3, 32)
    config = make_config(folder, rows, tmp_path / "store", **QUICK, task="token-detection")
    found = start(executed(config))
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
        ({"other": True}, "its adapter has layers that the base lacks|its adapter is for a base of other sizes"),
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
        executed(make_config(folder, rows, tmp_path / "store", **QUICK))


GOOD = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query", "dense"], "task_type": "SEQ_CLS",
        "modules_to_save": ["classifier"]}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("[]", r"adapter_config.json contains \[\], not the JSON object that peft writes"),
        ("null", "adapter_config.json contains None, not the JSON object"),
        ("some text", "adapter_config.json cannot be read: "),
        ("[" * 5000, "adapter_config.json cannot be read: "),
        ({"base_model_name_or_path": None}, "is an adapter whose adapter_config.json names no base"),
        ({"base_model_name_or_path": 7}, "adapter_config.json: base_model_name_or_path is 7, not a string"),
        ({"base_model_name_or_path": "{folder}"}, "is an adapter to an adapter"),
        ({"peft_type": 7}, "adapter_config.json: peft_type is 7, not a string"),
        ({"peft_type": None}, "adapter_config.json: peft_type is None, not a string"),
        ({"revision": 7}, "adapter_config.json: revision is 7, not a string"),
        ({"peft_type": "XYZ"}, "adapter_config.json (is not a valid peft config|and adapter_model.safetensors.*XYZ)"),
        ({"r": "eight"}, "adapter"),
        ({"lora_alpha": "x"}, "adapter"),
        ({"target_modules": 7}, "adapter"),
        ({"modules_to_save": 7}, "adapter"),
        ({"task_type": "NOPE"}, "adapter"),
    ],
)
def test_an_odd_adapter_config_is_refused_by_name(told: Any, says: str, bert: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", classifier(bert), task_type="SEQ_CLS")
    if isinstance(told, dict):
        told = {"base_model_name_or_path": str(bert), **GOOD, **told}
        told = json.dumps(told).replace("{folder}", str(folder))
    (folder / "adapter_config.json").write_text(told)
    with pytest.raises(ConfigError, match=says):  # as a base
        files = base_files(ModelConfig(name=str(folder)))
        link(files, tmp_path / "linked")
        fold(classifier(bert), tmp_path / "linked" / "adapter")
    with pytest.raises(ConfigError, match=says):  # as a finished model
        saved = open_saved(str(folder), config_for("rows.csv", "text-classification", []))
        load_saved(saved.folder, saved.loading, True)


def test_an_adapter_without_whole_weights_is_refused_by_name(bert: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", classifier(bert), task_type="SEQ_CLS")
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match=r"adapter_model.safetensors is not a complete safetensors file"):
        open_saved(str(folder), config_for("rows.csv", "text-classification", []))


@pytest.mark.parametrize("body", [False, True])
def test_an_adapter_that_brings_no_head_predicts_nothing(body: bool, bert: Path, tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(bert) if body else classifier(bert)
    folder = adapter(tmp_path / "adapter", model, modules_to_save=None)
    saved = open_saved(str(folder), config_for("rows.csv", "text-classification", []))
    with pytest.raises(
        ConfigError, match=r"neither .* nor its base has the weights classifier.bias, classifier.weight of"
    ):
        load_saved(saved.folder, saved.loading, True)
