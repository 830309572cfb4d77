"""A path that no file system can have is refused by the name of its field, before anything looks for it."""

from pathlib import Path

import pytest

from tasks.config import ConfigError, StoreConfig, load
from tasks.execution.execute import open_store
from tests.flow.test_cli import call

FIELDS = ("output_dir", "store.root", "model.name", "train.resume_from_checkpoint")
ODD = {
    "~nosuchuser/x": "there is no user 'nosuchuser'",
    "~nosuchuser": "there is no user 'nosuchuser'",
    "a" * 300: "a path of 300 characters given .*255 in each",
    "x/" + "é" * 200: "255 in each",
    "a/" * 3000: "up to 4095 bytes",
    "nul\0x": "control characters",
    "a\nb": "control characters",
    "\t": "control characters",
    "\x1b[31m": "control characters",
    " ": "without spaces at its beginning",
    " x": "without spaces at its beginning",
    "x ": "without spaces at its beginning",
    "": "not empty",
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("path", ODD, ids=lambda path: ascii(path[:9]))
def test_an_impossible_path_is_refused(field: str, path: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}: .*{ODD[path]}"):
        load({"model": "m", "data": "d.csv"}, settings={field: path})


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "path", ["a b/c", "~/x", "./x", "../x/", "é" * 120, "日本語", "a\u200db", "-x", "x.y/$z", "~x y/.."[1:]]
)
def test_a_possible_one_is_not(field: str, path: str) -> None:
    load({"model": "m", "data": "d.csv"}, settings={field: path})


@pytest.mark.parametrize("url", ["s3://bucket/models/x", "file:///tmp/x", "https://h/x"])
def test_output_dir_is_a_folder_and_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match=r"output_dir: .* not a URL"):
        load({"model": "m", "data": "d.csv", "output_dir": url})


@pytest.mark.parametrize("path", [path for path in ODD if path and "\0" not in path], ids=lambda path: ascii(path[:9]))
def test_the_store_of_the_environment_and_of_the_command_line(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = call("runs", "--store", path)
    assert answer.code == 2 and "--store: " in answer.err
    monkeypatch.setenv("FINETUNE_STORE", path)
    with pytest.raises(ConfigError, match=r"store\.root: .*\(\$FINETUNE_STORE\)"):
        open_store(StoreConfig())


@pytest.mark.parametrize("field", ["name", "task"])
@pytest.mark.parametrize("text", [" ", "", "a\nb", "\x1b[31mred", "\u2028"])
def test_a_name_is_one_line_with_something_in_it(field: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}: "):
        load({"model": "m", "data": "d.csv"}, settings={field: text})


def test_a_run_is_looked_for_by_any_word(tmp_path: Path) -> None:
    for word in ("~nosuchuser/x", "a" * 300, "nul\0x", " "):
        answer = call("show", word, "--store", str(tmp_path))
        assert answer.code == 2 and "RUN: there is no" in answer.err
