"""From file, mapping, config and overrides to one checked config; all that is wrong at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.config import ConfigError, DataConfig, Lora, ModelConfig, NoPeft, RunConfig, TrainConfig, load

MINIMAL: dict[str, Any] = {"model": "m", "data": "d.csv"}


def problems_of(source: Any, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(source, overrides)
    return str(error.value).splitlines()


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    file = tmp_path / "quickstart.yaml"
    file.write_text(
        "task: text-classification\nmodel: some/path\ndata:\n  train: [a.csv, b.csv]\n  split: {validation: 0.2}\n"
        "peft: lora\ntrain:\n  learning_rate: 1e-4\n  evaluation_strategy: epoch\n  adam_beta2: 0.95\n"
    )
    return file


def test_a_file_with_short_forms_and_the_place_of_each_value(quickstart: Path) -> None:
    loaded = load(quickstart)
    assert loaded.config.model.name == "some/path"
    assert loaded.config.data.train == ["a.csv", "b.csv"]
    assert loaded.config.train.learning_rate == 1e-4
    assert loaded.origin == {
        "task": "quickstart.yaml:1",
        "model.name": "quickstart.yaml:2",
        "data.train": "quickstart.yaml:4",
        "data.split.validation": "quickstart.yaml:5",
        "peft.method": "quickstart.yaml:6",
        "train.learning_rate": "quickstart.yaml:8",
        "train.eval_strategy": "quickstart.yaml:9",
        "train.adam_beta2": "quickstart.yaml:10",
    }


def test_old_names_are_told_once(quickstart: Path) -> None:
    (notice,) = load(quickstart).notices
    assert notice == "quickstart.yaml: old names of training arguments: evaluation_strategy is now eval_strategy"


def test_overrides_go_over_the_file_and_into_short_forms(quickstart: Path) -> None:
    loaded = load(
        quickstart,
        ["model.revision=main", "train.learning_rate=2e-5", "data.labels=[no, yes]", "peft.r=16", "train.max_steps="],
    )
    assert loaded.config.model == ModelConfig(name="some/path", revision="main")
    assert loaded.config.train.learning_rate == 2e-5
    assert loaded.config.data.labels == ["no", "yes"]
    assert isinstance(loaded.config.peft, Lora)
    assert loaded.config.peft.r == 16
    assert loaded.origin["model.name"] == "quickstart.yaml:2"
    assert loaded.origin["model.revision"] == loaded.origin["peft.r"] == "command line"
    assert "train.max_steps" not in loaded.origin


def test_overriding_a_whole_section_forgets_what_was_in_it() -> None:
    loaded = load({**MINIMAL, "peft": {"method": "lora", "r": 4}}, ["peft=none"])
    assert loaded.config.peft == NoPeft()
    assert loaded.origin["peft.method"] == "command line"
    assert "peft.r" not in loaded.origin


def test_an_override_beats_the_same_argument_under_its_old_name(quickstart: Path) -> None:
    assert load(quickstart, ["train.eval_strategy=no"]).config.train.eval_strategy == "no"
    loaded = load(quickstart, ["train.evaluation_strategy=steps"])
    assert loaded.config.train.eval_strategy == "steps"
    assert loaded.notices[-1].startswith("command line: ")


def test_overrides_reach_into_mappings_of_training_arguments() -> None:
    loaded = load(MINIMAL, ["train.lr_scheduler_kwargs.min_lr=1e-6"])
    assert (loaded.config.train.model_extra or {})["lr_scheduler_kwargs"] == {"min_lr": 1e-6}
    assert loaded.origin["train.lr_scheduler_kwargs"] == "command line"


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("quant=true", "quant", "load_in_4bit", True),
        ("quant=false", "quant", "load_in_4bit", False),
        ("peft=true", "peft", "method", "lora"),
        ("peft=false", "peft", "method", "none"),
        ("peft=null", "peft", "method", "none"),
        ("store=memory", "store", "root", "memory"),
        ("data=[x, y]", "data", "train", ["x", "y"]),
        ("export=", "export", "card", True),
        ("train={warmup_ratio: 0.1}", "train", "warmup_steps", 0.1),
    ],
)
def test_short_forms(override: str, section: str, field: str, value: object) -> None:
    assert getattr(getattr(load(MINIMAL, [override]).config, section), field) == value


def test_sections_and_configs_as_source() -> None:
    config = RunConfig(model=ModelConfig(name="m"), data=DataConfig(train="d"), peft=Lora(r=4))
    loaded = load(config, ["seed=7"])
    assert loaded.config == config.model_copy(update={"seed": 7})
    assert loaded.origin["peft.r"] == "call"
    assert loaded.origin["seed"] == "command line"
    assert load({"model": ModelConfig(name="m"), "data": DataConfig(train="d")}).config.peft == NoPeft()
    assert load({**MINIMAL, "train": TrainConfig(learning_rate=1)}).origin["train.learning_rate"] == "call"


def test_paths_in_a_python_call() -> None:
    config = load({"model": Path("some/path"), "data": {"train": [Path("a.csv")]}}).config
    assert config.model.name == "some/path"
    assert config.data.train == ["a.csv"]


def test_the_given_mapping_is_not_changed() -> None:
    source = {"model": "m", "data": {"train": "d"}}
    load(source, ["data.train=e"])
    assert source == {"model": "m", "data": {"train": "d"}}


def test_everything_wrong_is_said_at_once_in_order(tmp_path: Path) -> None:
    file = tmp_path / "quickstart.yaml"
    file.write_text(
        "model: m\ndata:\n  train: a\n  max_lenght: 12\n  format: csvv\nmicro_batch_size: 3\nlearning_rate: 1e-4\n"
        "quant: {load_in_4bit: maybe}\ntrain:\n  weight_decay: -1\n  optim: sgdd\n  adam_beta1: x\n  seed: 3\n"
        "  lerning_rate: 3\n"
    )
    first, *lines = problems_of(file, "eval.patience=0", "nonsense", "train.lr=1", "data.train.x=1", "task=[")
    assert first == "15 problems in quickstart.yaml:"
    assert len(lines) == 15
    expected = [
        "- quickstart.yaml:4: data.max_lenght: unknown name; did you mean data.max_length?",
        "- quickstart.yaml:5: data.format: 'csvv' given; valid: auto, csv, tsv, json, jsonl, parquet, arrow, folder, "
        "text, conll; did you mean csv?",
        "- quickstart.yaml:6: micro_batch_size: unknown name; here it is called train.per_device_train_batch_size",
        "- quickstart.yaml:7: learning_rate: unknown name; it belongs at train.learning_rate",
        "- quickstart.yaml:8: quant.load_in_4bit: 'maybe' given; valid: true or false",
        "- quickstart.yaml:10: train.weight_decay: -1 given; valid: a number, at least 0",
    ]
    assert lines[:6] == expected
    assert lines[6].startswith("- quickstart.yaml:11: train.optim: 'sgdd' given; valid: adamw_torch, ")
    assert lines[6].endswith("did you mean sgd?")
    assert lines[7:10] == [
        "- quickstart.yaml:12: train.adam_beta1: 'x' given; valid: a number",
        "- quickstart.yaml:13: train.seed: not allowed: all stages use one seed; set seed at the top level",
        "- quickstart.yaml:14: train.lerning_rate: unknown name; did you mean train.learning_rate?",
    ]
    assert sorted(lines[10:]) == [
        "- command line: 'nonsense': an override must have the form dotted.name=value",
        "- command line: data.train.x: data.train is a single value and has no fields",
        "- command line: eval.patience: 0 given; valid: a whole number, at least 1",
        "- command line: task: not valid YAML: expected the node content, but found '<stream end>'",
        "- command line: train.lr: unknown name; here it is called train.learning_rate",
    ]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({}, "model: missing"),
        ({"model": "m", "data": {}}, "data.train: missing"),
        ({**MINIMAL, "seed": -1}, "seed: -1 given; valid: a whole number, at least 0 and below 4294967296"),
        ({**MINIMAL, "seed": True}, "seed: true given; valid: a whole number"),
        ({**MINIMAL, "peft": "loar"}, "did you mean lora?"),
        ({**MINIMAL, "peft": {"r": 8}}, "peft.method: missing; valid: none, lora"),
        ({**MINIMAL, "peft": {"method": "none", "r": 8}}, "peft.r: valid only with peft.method: lora"),
        ({**MINIMAL, "export": "x"}, "export: 'x' given; valid: a mapping"),
        ({**MINIMAL, "data": {"train": ["a", 1]}}, "data.train: "),
        ({**MINIMAL, "do_train": True}, "do_train: not allowed: training and evaluation are separate stages"),
        ({**MINIMAL, "evaluation_strategy": "no"}, "here it is called train.eval_strategy"),
        ({"base_model": "m", "data": "d"}, "here it is called model.name; `finetune init --from FILE` translates"),
        (
            {**MINIMAL, "datasets": [{"path": "a.jsonl", "type": "alpaca"}, {"path": "owner/name"}]},
            "write task: sft, data: {train: [a.jsonl, owner/name]} (a data set of the hub: hf:owner/name)",
        ),
        ({**MINIMAL, "datasets": [{"path": "a.txt", "type": "completion"}]}, "task: language-generation"),
        ({"model": "m", "data": {"train": [{"path": "a.jsonl"}]}}, "write task: sft, data: {train: a.jsonl}"),
        ({"model": "m", "data": {"train": "a", "datasets": [{"path": "b"}]}}, "write task: sft, data: {train: b}"),
        ({**MINIMAL, "adam_beta1": 0.9}, "it belongs at train.adam_beta1"),
        ({**MINIMAL, "training": {}}, "did you mean train?"),
        ({**MINIMAL, "zzzzqqq": 1}, "- call: zzzzqqq: unknown name"),
        ({**MINIMAL, "quant": {"load_in_4bit": True, "load_in_8bit": True}}, "set only one"),
        ({**MINIMAL, "eval": {"patience": 2}}, "set eval.best"),
        ({**MINIMAL, "data": {"train": "d", "split": {"validation": 0.6, "test": 0.5}}}, "valid: a sum below 1"),
        ({**MINIMAL, "data": {"train": "d", "split": {"test": 1}}}, "data.split.test: 1 given"),
        ({**MINIMAL, "data": {"train": "d", "labels": ["a", "a"]}}, "a given more than once"),
        ({"model": "package:only", "data": "d"}, "package:<distribution>/<path"),
    ],
)
def test_messages(source: dict[str, Any], says: str) -> None:
    message = "\n".join(problems_of(source))
    assert says in message
    assert "pydantic" not in message
    assert "http" not in message


def test_one_problem_is_one() -> None:
    assert problems_of({**MINIMAL, "tsk": "x"}) == [
        "1 problem in the config:",
        "- call: tsk: unknown name; did you mean task?",
    ]


@pytest.mark.parametrize("secret", ["hf_abcdef", "not-a-name", "sk 123"])
def test_a_token_is_refused_and_never_repeated(secret: str) -> None:
    message = "\n".join(problems_of({"model": {"name": "m", "token_secret": secret}, "data": "d"}))
    assert "environment variable" in message
    assert secret not in message


def test_labels_written_as_numbers_are_text() -> None:
    assert load({"model": "m", "data": {"train": "d", "labels": [1, 2]}}).config.data.labels == ["1", "2"]


@pytest.mark.parametrize(
    ("given", "home"),
    [("/big/cache", "/big/cache"), ("", "~/.cache"), (None, "~/.cache"), ("relative/cache", "~/.cache")],
)
def test_the_cache_is_where_xdg_says(given: str | None, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.config import StoreConfig
    from tasks.data.sources.locate import own_cache
    from tasks.execution.execute import store_root
    from tasks.runtime.prefect_api import server

    monkeypatch.delenv("FINETUNE_STORE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", given) if given is not None else monkeypatch.delenv("XDG_CACHE_HOME")
    ours = Path(home).expanduser() / "finetune-flow"
    assert store_root(StoreConfig()) == str(ours / "store")
    assert (own_cache(), server.home()) == (ours / "data", ours / "server")
    assert store_root(StoreConfig(root="here")) == str(Path("here").absolute())
