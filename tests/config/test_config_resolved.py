"""The full config as YAML: origins as comments, and the same config when read again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from tasks.config import RunConfig, load, to_yaml
from tasks.config.leaves import leaves
from tasks.config.reading.yaml_file import parse_document
from tasks.config.sections.section import check_path

TEXT = some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | some.sampled_from(
    ["no", "1e-4", "null", "12:30", "2024-01-01", "~", "a: b", "# x", "- x", "s3://b/k", "0x1f", ".inf", "é", "=", "<<"]
)
NUMBER = some.floats(min_value=1e-12, max_value=1e12, allow_nan=False)


def possible(name: str) -> bool:
    """Whether a text can be the name of a model."""
    try:
        return not name.startswith("package:") and bool(check_path(name))
    except ValueError:
        return False


RUNS = some.fixed_dictionaries(
    {
        "model": some.fixed_dictionaries({"name": TEXT.filter(possible)}),
        "data": some.fixed_dictionaries(
            {"train": TEXT | some.lists(TEXT, min_size=1, max_size=3)},
            optional={
                "labels": some.lists(TEXT, min_size=1, max_size=4, unique=True),
                "max_length": some.integers(1, 9),
            },
        ),
    },
    optional={
        "name": TEXT.filter(lambda name: bool(name.strip()) and name.isprintable()),
        "seed": some.integers(0, 2**32 - 1),
        "peft": some.fixed_dictionaries(
            {"method": some.just("lora")},
            optional={"r": some.integers(1, 64), "lora_alpha": NUMBER | some.integers(1, 9)},
        ),
        "train": some.fixed_dictionaries(
            {},
            optional={
                "learning_rate": NUMBER,
                "eval_strategy": some.sampled_from(["no", "steps", "epoch"]),
                "bf16": some.booleans(),
                "optim_args": TEXT,
                "lr_scheduler_kwargs": some.dictionaries(
                    TEXT, NUMBER | TEXT | some.booleans() | some.none(), max_size=3
                ),
                "label_names": some.lists(TEXT, max_size=2),
            },
        ),
    },
)


@settings(max_examples=150, deadline=None)
@given(RUNS, TEXT)
def test_what_is_written_reads_back_as_the_same_config(values: dict[str, Any], origin: str) -> None:
    config = RunConfig.model_validate(values)
    text = to_yaml(config, {"model.name": origin, "seed": origin}, header="made by\na test")
    assert load(dict(parse_document(text, "resolved.yaml").values)).config == config
    # Readers of YAML 1.1 must see the same: Prefect's deployments are read by one.
    assert RunConfig.model_validate(yaml.safe_load(text)) == config


def test_origins_are_comments_and_the_file_loads() -> None:
    loaded = load({"model": "m", "data": "d"}, ["train.learning_rate=1e-5", "train.save_strategy=no"])
    text = to_yaml(loaded.config, loaded.origin, header="run 7")
    lines = text.splitlines()
    assert lines[0] == "# run 7"
    assert "  learning_rate: 1.0e-05  # command line" in lines
    assert '  save_strategy: "no"  # command line' in lines
    assert "  name: m  # call" in lines
    assert "seed: 42  # default" in lines
    assert text.count("  # ") == len(list(leaves(loaded.config)))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resolved.yaml"
        file.write_text(text, encoding="utf-8")
        assert load(file).config == loaded.config
