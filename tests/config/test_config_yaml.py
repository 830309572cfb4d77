"""YAML 1.2's core rules, lines, and errors with a place."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.config import ConfigError, load
from tasks.config.reading.yaml_file import parse_document, parse_value, read


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
    with pytest.raises(ConfigError, match=r"https://user:\(a secret\)@h/run.yaml: no such file"):
        read("https://user:PassW0rd@h/run.yaml")
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


def bomb(levels: int) -> str:
    return "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, levels)
    )


HOSTILE = {
    "bomb": (bomb(12), "aliases expand to more than 100000 values"),
    "bomb of merges": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12)),
        "aliases expand to more than",
    ),
    "bomb as a name": (bomb(4) + "? *a3\n: 1\n", "a sequence as a name"),
    "inside itself": ("a: &a [1, *a]", "c.yaml:1: .* contains itself"),
    "merged into itself": ("a: &a\n  <<: *a", "contains itself"),
    "inside itself by another": ("a: &a {b: &b {c: *a}}", "contains itself"),
    "deep list": ("a: " + "[" * 3000 + "]" * 3000, "nested more than 100 levels deep"),
    "deep mapping": ("\n".join(f"{' ' * i}a:" for i in range(3000)), "nested more than 100 levels deep"),
    "deep by aliases": (
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 3000)), "100 levels of nesting"
    ),
    "unfinished": ("a: " + "[" * 3000, "more than 100 levels"),
    "digits": ("seed: " + "9" * 5000, "c.yaml:1: .*an integer of 5000 digits"),
    "hexadecimal digits": ("seed: 0x" + "f" * 5000, "an integer of 5002 digits"),
    "tag int": ("seed: !!int a", "'a' is not a valid 'int'"),
    "tag bool": ("seed: !!bool a", "'a' is not a valid 'bool'"),
    "tag float": ("seed: !!float a", "'a' is not a valid 'float'"),
    "tag timestamp": ("seed: !!timestamp a", "not valid YAML"),
    "tag binary": ("seed: !!binary é", "not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_that_costs_too_much_is_refused_at_once(name: str) -> None:
    text, says = HOSTILE[name]
    with pytest.raises(ConfigError, match=says):
        parse_document(text, "c.yaml")


def test_a_number_on_the_command_line_is_bounded_too() -> None:
    with pytest.raises(ConfigError, match="5000 digits"):
        parse_value("9" * 5000)
    with pytest.raises(ConfigError, match=r"seed: .*5000 digits"):
        load({"model": "m", "data": "d"}, ["seed=" + "9" * 5000])


def test_what_is_no_config_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_bytes(b"- row\n" * 200_000)
    for path in (tmp_path / "rows.yaml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="larger than 1 MiB"):
            read(path)


def test_aliases_as_people_use_them_are_taken() -> None:
    text = "base: &base {lr: 1, deep: &deep {a: [1, 2]}}\n" + "".join(
        f"r{i}:\n  <<: *base\n  more: *deep\n" for i in range(500)
    )
    assert parse_document(text, "c.yaml").values["r499"] == {"lr": 1, "deep": {"a": [1, 2]}, "more": {"a": [1, 2]}}


SIGNS = ["- ", "[", "]", "{", "}", "&x ", "*x", "<<: ", "? ", "'", '"', "|", "---", "%", "#", "\n", "  ", "\t", "\0"]
words = st.sampled_from([*SIGNS, "a", "b: ", "!!int ", "!!set ", "!!binary ", "1e999", "~", "é", "9" * 50])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=40) | st.lists(words, max_size=25).map("".join))
def test_any_text_is_a_config_or_refused(text: str) -> None:
    for parse in (lambda: parse_document(text, "c.yaml"), lambda: parse_value(text)):
        with suppress(ConfigError):
            parse()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=60) | st.lists(words, max_size=25).map(lambda found: "".join(found).encode()))
def test_any_file_is_a_config_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with suppress(ConfigError):
        load(path)
