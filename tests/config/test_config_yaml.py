"""YAML 1.2's core rules, lines, and errors with a place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tasks.config import ConfigError, load
from tasks.config.yaml_file import parse_document, parse_value, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("2e-4", 2e-4),
        ("1e5", 1e5),
        ("1.0e-5", 1e-5),
        (".5", 0.5),
        ("3", 3),
        ("-7", -7),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("'1e-4'", "1e-4"),
        ("[1e-4, two, {a: no}]", [1e-4, "two", {"a": "no"}]),
    ],
)
def test_scalars_follow_the_core_rules(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_other_readers_of_the_process_are_left_alone() -> None:
    assert yaml.safe_load("a: no\nb: 1e-4") == {"a": False, "b": "1e-4"}


def test_lines_of_dotted_names() -> None:
    document = parse_document("task: x\nmodel:\n  name: a\n\ndata: {train: b,\n  format: csv}\n", "c.yaml")
    assert document.lines == {"task": 1, "model": 2, "model.name": 3, "data": 5, "data.train": 5, "data.format": 6}


def test_anchors_and_merges() -> None:
    document = parse_document("a: &x {k: 1, l: 2}\nb: &y\n  <<: *x\n  k: 3\nc: *y\n", "c.yaml")
    assert document.values["b"] == document.values["c"] == {"k": 3, "l": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: [1\n", "c.yaml:3: not valid YAML"),
        ("a: 1\n\tb: 2\n", "c.yaml:2: not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "c.yaml:3: a: given twice, first on line 1"),
        ("t:\n  x: 1\n  x: 2\n", "c.yaml:3: t.x: given twice, first on line 2"),
        ("", "c.yaml: the file is empty"),
        ("# only a comment\n", "c.yaml: the file is empty"),
        ("- 1\n- 2\n", "c.yaml:1: the top level must be a mapping"),
        ("a: !!python/name:os.system x\n", "c.yaml:1: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: \x00\n", "c.yaml: not valid YAML"),
    ],
)
def test_what_is_wrong_has_a_place(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_document(text, "c.yaml")
    assert says in str(error.value)


def test_all_repeated_names_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse_document("a: 1\na: 2\nb: 1\nb: 2\n", "c.yaml")
    assert len(str(error.value).splitlines()) == 2


def test_missing_unreadable_and_wrongly_encoded_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        load(str(latin))


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("task: x\n", encoding="utf-8-sig")
    assert read(file).values == {"task": "x"}
