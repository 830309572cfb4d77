"""A package of a user's own brings a data format; a package that is broken is named."""

import gzip
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pytest

from flows.api import plan
from flows.cli import main
from tasks.artifacts.keys import code
from tasks.config import ConfigError, load
from tasks.config.errors import DataError
from tasks.config.formats import Format, formats
from tasks.data.sources.locate import Source, locate
from tasks.data.sources.objects import is_rows
from tasks.data.sources.read import read
from tasks.objectives import objectives
from tasks.objectives.schema import json_schema
from tests.tiny import TOPICS, make_config

RECORDS = "".join(f"text: bal gen cir dos {at}\nlabel: {TOPICS[at % 3]}\n\n" for at in range(30))
READER = """
from tasks.config.formats import Format
ROW = Format({name!r}, {suffixes!r}, "{module}:read")
def read(file):
    import pyarrow as pa
    {body}
"""


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "rows.kv"
    path.write_text(RECORDS)
    return path


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install another package with one entry point and one module."""
    packages = []

    def installed(name: str, source: str, group: str = "formats", attribute: str = "ROW", package: str = "") -> None:
        packages.append(package := package or f"of_{name}")
        folder = tmp_path / "site" / package
        (folder / f"{package}-2.0.dist-info").mkdir(parents=True)
        (folder / f"{package}.py").write_text(source)
        (folder / f"{package}-2.0.dist-info" / "METADATA").write_text(f"Name: {package}\nVersion: 2.0\n")
        entry = f"[finetune_flow.{group}]\n{name} = {package}:{attribute}\n"
        (folder / f"{package}-2.0.dist-info" / "entry_points.txt").write_text(entry)
        monkeypatch.syspath_prepend(str(folder))
        formats.cache_clear()
        objectives.cache_clear()

    yield installed
    for package in packages:
        sys.modules.pop(package, None)


def reader(name: str, body: str, *suffixes: str, module: str = "") -> str:
    return READER.format(name=name, suffixes=suffixes or (f".{name}",), module=module or f"of_{name}", body=body)


def keys(config: dict[str, Any]) -> dict[str, str]:
    return {stage: ref.key for stage, ref in plan(load(config))[1].refs.items()}


def test_a_file_is_read_by_its_suffix_or_as_told(records: Path, tmp_path: Path) -> None:
    rows = read(locate(str(records), "data.train")).table
    assert rows.num_rows == 30
    assert rows.slice(1, 1).to_pylist() == [
        {"text": "bal gen cir dos 1", "label": TOPICS[1], "__file": "rows.kv", "__row": 4}
    ]
    for name, format in (("a.KV", "auto"), ("a.kv.old", "auto"), ("a.dat", "kv"), ("a.csv", "kv")):
        (tmp_path / name).write_text(RECORDS)
        assert read([Source(tmp_path / name, name)], format).table["text"].equals(rows["text"]), name
    assert not is_rows(["other.kv"])


def test_a_run_is_planned_with_it(bert: Path, records: Path, tmp_path: Path, capsys: Any) -> None:
    words = [f"model={bert}", f"data.train={records}", f"store.root={tmp_path / 'store'}"]
    (tmp_path / "run.yaml").write_text("train: {max_steps: 2}\n")
    assert main(["plan", str(tmp_path / "run.yaml"), *words]) == 0
    assert "training: 2 steps" in capsys.readouterr().out
    assert main(["lint", str(tmp_path / "run.yaml"), *words, "data.format=kv"]) == 0


def test_wrong_records_are_reported_with_their_lines(records: Path) -> None:
    records.write_text(RECORDS + "text no label\n")
    with pytest.raises(DataError, match=r"data\.train: 1 problem in the files:\n  rows\.kv:91: is not `name: value`"):
        read(locate(str(records), "data.train"))


def test_names_of_formats_are_checked(bert: Path, records: Path, tmp_path: Path) -> None:
    config = make_config(bert, records, tmp_path / "store", data__format="kv")
    schema = jsonschema.Draft202012Validator(json_schema())
    assert load(config).config.data.format == "kv" and schema.is_valid(config)
    config["data"]["format"] = "kvv"
    assert not schema.is_valid(config)
    with pytest.raises(ConfigError, match=r"data\.format: 'kvv' given; valid: auto, csv, .*, kv; did you mean kv\?"):
        load(config)
    with pytest.raises(ConfigError, match=r"'kvv' is none of auto, csv, .*, kv; did you mean 'kv'\?"):
        read([Source(records, "rows.kv")], "kvv")
    with pytest.raises(DataError, match=r"the format of a\.xyz is not clear .*\.iob2, \.kv, .* one of csv, .*, kv, or"):
        read([Source(records, "a.xyz")])


def test_its_code_is_in_the_key_of_the_stage_that_reads(
    bert: Path, rows: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in that of no run that reads other files."""
    configs = [make_config(bert, data, tmp_path / "store") for data in (records, rows)]
    before = [keys(config) for config in configs]
    foreign = code._foreign

    def edited(name: str) -> Any:
        found = foreign(name)
        return found and code.Source(f"{found.text}\nEDITED = True\n", found.is_package)

    monkeypatch.setattr(code, "_foreign", edited)
    after = [keys(config) for config in configs]
    assert {stage for stage in before[0] if before[0][stage] != after[0][stage]} >= {"s04_prepare"}
    assert before[0]["s03_base"] == after[0]["s03_base"]
    assert before[1] == after[1]


def test_another_reader_is_another_key(bert: Path, records: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Also one in the same module."""
    config = make_config(bert, records, tmp_path / "store")
    before = keys(config)
    monkeypatch.setattr("their_task.kv.other", formats()["kv"].load(), raising=False)
    monkeypatch.setattr(
        "tasks.config.formats.installed", lambda *_: {"kv": Format("kv", (".kv",), "their_task.kv:other")}
    )
    formats.cache_clear()
    assert keys(config)["s04_prepare"] != before["s04_prepare"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module", r"package of_xx 2\.0 cannot be loaded: ModuleNotFoundError: "),
        ("1 +", r"the entry point xx = of_xx:ROW in finetune_flow\.formats .* cannot be loaded: SyntaxError"),
        ("ROW = len", r"is of type builtin_function_or_method, not Format"),
        (reader("yy", "", module="of_xx"), r"is called 'yy' itself; give both one name"),
        (reader("xx", "").replace("('.xx',)", "'.xx'"), r"cannot be loaded: ValueError: format xx: '\.' given"),
        (reader("xx", "", "xx"), r"format xx: 'xx' given in suffixes; valid: a tuple of texts such as '\.kv'"),
        (reader("xx", "", ".XX"), r"'\.XX' given in suffixes"),
        (reader("xx", "", module="gone"), r"data\.format: xx: gone:read cannot be loaded: ModuleNotFoundError"),
    ],
)  # fmt: skip
def test_a_broken_package_is_named_where_it_is_needed(
    bring: Callable[..., None], bert: Path, rows: Path, records: Path, tmp_path: Path, source: str, said: str
) -> None:
    bring("xx", source)
    (tmp_path / "a.xx").write_text(RECORDS)
    for format in ("auto", "xx"):
        with pytest.raises(ConfigError, match=said):
            read([Source(tmp_path / "a.xx", "a.xx")], format)
    assert load(make_config(bert, rows, tmp_path)).config.data.format == "auto"
    assert read(locate(str(rows), "data.train")).table.num_rows  # a format of ours needs no package


def test_a_broken_task_is_named(
    bring: Callable[..., None], bert: Path, rows: Path, tmp_path: Path, capsys: Any
) -> None:
    bring("xx", "import no_such_module", group="objectives")
    (tmp_path / "run.yaml").write_text("{task: xx, model: m}\n")
    assert main(["plan", str(tmp_path / "run.yaml"), f"data.train={rows}"]) == 2
    assert "the entry point xx = of_xx:ROW in finetune_flow.objectives of the package" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('x')", r"a\.xx cannot be read as xx \(of_xx:read\): KeyError: 'x'"),
        ("return [{'text': 'a'}]", r"cannot be read as xx \(of_xx:read\): ValueError"),
        ("return [{'text': 'a'}], [1]", r"cannot be read as xx .*: AttributeError: 'list' object"),
        ("return pa.table({'text': ['a', 'b']}), [1]", r"ValueError: 2 rows, but 1 places"),
        ("return None", r"a\.xx holds no rows"),
        ("return pa.table({'text': []}), []", r"a\.xx holds no rows"),
    ],
)
def test_what_a_reader_does_wrong_is_a_problem_of_the_file(
    bring: Callable[..., None], tmp_path: Path, body: str, said: str
) -> None:
    bring("xx", reader("xx", body))
    (tmp_path / "a.xx").write_text(RECORDS)
    with pytest.raises(DataError, match=said):
        read([Source(tmp_path / "a.xx", "a.xx")])


def test_notes_and_types_of_a_reader(bring: Callable[..., None], tmp_path: Path) -> None:
    """Columns are converted as those of Arrow files; the same note of several files is one line."""
    body = "file.note('N files of the old kind'); return pa.table({'text': pa.array(['a'], pa.large_string())}), [7]"
    bring("xx", reader("xx", body))
    (tmp_path / "a.xx").write_text("")
    found = read([Source(tmp_path / "a.xx", name) for name in ("a.xx", "b.xx")])
    assert found.notices == ("data.train: 2 files of the old kind: a.xx, b.xx",)
    assert found.table.to_pylist()[1] == {"text": "a", "__file": "b.xx", "__row": 7}
    assert pa.types.is_string(found.table.schema.field("text").type)


def test_suffixes_that_two_have(bring: Callable[..., None], tmp_path: Path) -> None:
    """The longest decides; ours stay ours; two packages' are refused."""
    bring("xx", reader("xx", "return pa.table({'by': ['xx']}), [1]", ".xx", ".csv", ".zz"))
    bring("yy", reader("yy", "return pa.table({'by': ['yy']}), [1]", ".b.xx", ".zz"))
    for name, by in (("a.xx", "xx"), ("a.b.xx", "yy")):
        (tmp_path / name).write_text("by\ncsv\n")
        assert read([Source(tmp_path / name, name)]).table["by"].to_pylist() == [by]
    (tmp_path / "a.csv").write_text("by\ncsv\n")
    assert read([Source(tmp_path / "a.csv", "a.csv")]).table["by"].to_pylist() == ["csv"]
    with pytest.raises(ConfigError, match=r"a\.zz may be xx or yy by its suffix; set data\.format to one"):
        read([Source(tmp_path / "a.xx", "a.zz")])
    assert read([Source(tmp_path / "a.xx", "a.zz")], "yy").table["by"].to_pylist() == ["yy"]


def test_its_compressed_files(bring: Callable[..., None], tmp_path: Path) -> None:
    """They are unpacked for it, unless it knows the whole suffix."""
    bring("xx", reader("xx", "return pa.table({'by': [file.path.read_bytes()[:2].hex()]}), [1]", ".xx", ".yy.gz"))
    for name, head in (("a.xx.gz", "6162"), ("a.yy.gz", "1f8b")):
        (tmp_path / name).write_bytes(gzip.compress(b"abc"))
        assert read([Source(tmp_path / name, name)]).table["by"].to_pylist() == [head]


def test_two_packages_with_one_name(bring: Callable[..., None], tmp_path: Path) -> None:
    bring("xx", reader("xx", "", module="one"), package="one")
    bring("xx", reader("xx", "", module="two"), package="two")
    with pytest.raises(ConfigError, match="a name that another installed package uses too; uninstall one"):
        read([Source(tmp_path / "a.xx", "a.xx")])
