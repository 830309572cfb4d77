"""Compressed data files hold the rows of the files in them."""

import bz2
import gzip
import lzma
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.api import plan
from tasks.config import load
from tasks.config.errors import DataError
from tasks.data.rows.splits import read_splits, split_files
from tasks.data.sources.locate import Source, locate
from tasks.data.sources.objects import is_rows
from tasks.data.sources.read import read
from tasks.objectives import objective_of
from tests.tiny import make_config, make_rows

PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
CONTENTS = {
    "csv": "text,label\na,b\nc,d\n", "tsv": "text\tlabel\na\tb\nc\td\n", "conll": "a O\n\nb O\n", "txt": "a\nb\n",
    "jsonl": '{"text": "a", "label": "b"}\n{"text": "c", "label": "d"}\n', "json": '[{"text": "a", "label": "b"}]',
}  # fmt: skip


def packed(folder: Path, name: str, suffix: str, content: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)
    (folder / f"{name}{suffix}").write_bytes(PACKERS[suffix.lower()](content.encode()))
    return folder / f"{name}{suffix}"


@pytest.mark.parametrize("suffix", [*PACKERS, ".GZ"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_every_format(kind: str, suffix: str, tmp_path: Path) -> None:
    path = packed(tmp_path, f"rows.{kind}", suffix, CONTENTS[kind])
    plain, found = (read(locate(str(each), "data.train")).table for each in (tmp_path / f"rows.{kind}", path))
    assert set(found["__file"].to_pylist()) == {path.name}
    assert found.drop_columns("__file").equals(plain.drop_columns("__file"))
    if kind != "txt":
        shutil.copy(path, tmp_path / f"other{suffix}")
        assert read(locate(str(tmp_path / f"other{suffix}"), "data.train"), kind).table.num_rows == plain.num_rows
    assert not is_rows([path.name])


def test_texts_by_class(tmp_path: Path) -> None:
    for name in ("fruit/1.txt", "metal/1.txt"):
        packed(tmp_path / "texts", name, ".gz", name).with_suffix("").unlink()
    data = load(make_config(tmp_path, tmp_path / "texts", tmp_path)).config.data
    roles = objective_of("text-classification").roles
    table = read_splits(split_files(data), data, roles)[0]["train"]
    assert table.select(["text", "label", "file"]).to_pylist() == [
        {"text": name, "label": name[:5], "file": f"{name}.gz"} for name in ("fruit/1.txt", "metal/1.txt")
    ]


def test_a_damaged_file_is_named_with_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    sources = []
    for at, suffix in enumerate(PACKERS):
        path = packed(tmp_path, f"{at}.csv", suffix, CONTENTS["csv"] * 99)
        path.write_bytes(path.read_bytes()[:-12])
        sources.append(Source(path, path.name))
    (tmp_path / "3.csv.gz").write_text(CONTENTS["csv"])
    with pytest.raises(DataError) as error:
        read([*sources, Source(tmp_path / "3.csv.gz", "3.csv.gz")])
    for name in ("0.csv.gz", "1.csv.bz2", "2.csv.xz", "3.csv.gz"):
        suffix = name[5:]
        assert f"\n  {name} is not a readable {suffix} file (truncated, or another format): " in str(error.value)
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("name", ["rows.gz", "rows.csv.gz.gz", "rows.xyz.gz", "rows.csv.zip"])
def test_other_names_are_unclear(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"the format of {name} is not clear from its name"):
        read([Source(tmp_path / name, name)])


def test_a_run_is_planned_with_one(bert: Path, tmp_path: Path) -> None:
    path = packed(tmp_path, "rows.csv", ".gz", make_rows(tmp_path / "plain.csv").read_text())
    _, context = plan(load(make_config(bert, path, tmp_path / "store")))
    assert context.refs["s04_prepare"].facts["rows"]["train"]
