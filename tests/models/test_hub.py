"""Models and data of the hub: names, revisions, access, what is cached, and a hub that does not answer."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.config import ConfigError, DataError, ModelConfig
from tasks.data.sources.locate import locate
from tasks.models.bases.base import base_files, tokenizer_files
from tasks.models.bases.hub import commit_of
from tests.hub import Hub, hub_at, in_use
from tests.tiny import TOPICS, make_config

BIG = 20_000  # bytes; the weights are more, all else is less


@pytest.fixture
def hub(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, with an owner and without one; the folder we are in is empty."""
    for name in ("acme/tiny-bert", "legacy/tiny-bert-uncased"):
        shutil.copytree(bert, tmp_path / "hub" / "models" / name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with hub_at(tmp_path / "hub") as found, in_use(found, tmp_path / "cache", monkeypatch):
        yield found


def named(name: str, **more: Any) -> ModelConfig:
    return ModelConfig(name=name, **more)


@pytest.mark.parametrize("name", ["acme/tiny-bert", "tiny-bert-uncased"])
def test_a_model_with_an_owner_and_without(name: str, hub: Hub, bert: Path) -> None:
    found = base_files(named(name))
    assert {file: path.read_bytes() for file, path in found.items()} == {
        path.name: path.read_bytes() for path in bert.iterdir()
    }
    assert commit_of(found) == hub.revisions["main"]
    asked = len(hub.asked)
    assert base_files(named(name)) == found and len(hub.asked) == asked  # the cache has it


def test_a_revision_and_one_that_is_not_there(hub: Hub) -> None:
    assert commit_of(base_files(named("acme/tiny-bert", revision="v1"))) == hub.revisions["v1"]
    assert commit_of(base_files(named("acme/tiny-bert", revision="b" * 40))) == hub.revisions["v1"]
    with pytest.raises(ConfigError, match=r"model\.revision: the hub's 'acme/tiny-bert' has no revision 'v2'"):
        base_files(named("acme/tiny-bert", revision="v2"))


def test_names_the_hub_does_not_know(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "here" / "tiny-bert-cased").mkdir()
    with pytest.raises(ConfigError, match=r"'tiny-bert-casd' is neither a folder here nor a hub model; did you "
                                          r"mean the folder 'tiny-bert-cased'\? \(a private one needs"):  # fmt: skip
        base_files(named("tiny-bert-casd"))
    assert base_files(named("tiny-bert-uncased"))  # a folder of a like name does not stand in its way
    asked = len(hub.asked)
    (tmp_path / "here" / "runs" / "reviews").mkdir(parents=True)
    for path in ("runs/reveiws", "./runs/reveiws", f"{tmp_path}/here/runs/reveiws", "here/runs/of/reviews"):
        hint = r"; did you mean the folder '.*runs/reviews'\?$" if "reveiws" in path else "$"
        with pytest.raises(ConfigError, match=f"model.name: there is no folder '{path}'{hint}"):
            base_files(named(path))
    with pytest.raises(ConfigError, match="'two words' is not a folder here, and not a valid hub name"):
        base_files(named("two words"))
    assert len(hub.asked) == asked


def test_a_private_model_needs_the_token_that_the_config_names(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.private["acme/tiny-bert"] = "hf_canary"
    with pytest.raises(ConfigError, match=r"neither a folder here nor a hub model \(a private one needs model"):
        base_files(named("acme/tiny-bert"))
    ours = named("acme/tiny-bert", token_secret="OUR_TOKEN")
    with pytest.raises(ConfigError, match=r"model\.token_secret: the environment variable 'OUR_TOKEN' is not set"):
        base_files(ours)
    monkeypatch.setenv("OUR_TOKEN", "hf_wrong")
    with pytest.raises(ConfigError, match=r"\(the token in OUR_TOKEN cannot read it\)") as refused:
        base_files(ours)
    assert "hf_wrong" not in str(refused.value)
    monkeypatch.setenv("OUR_TOKEN", "hf_canary")
    assert base_files(ours)


def test_a_gated_model_says_where_its_terms_are(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated["acme/tiny-bert"] = "hf_canary"
    with pytest.raises(ConfigError, match=f"is gated: accept its terms at {hub.url}/acme/tiny-bert, and set a token"):
        base_files(named("acme/tiny-bert"))
    monkeypatch.setenv("OUR_TOKEN", "hf_canary")
    assert base_files(named("acme/tiny-bert", token_secret="OUR_TOKEN"))


@pytest.mark.parametrize(("status", "said"), [(429, "the hub answers 429"), (503, "the hub answers 503")])
def test_a_hub_that_does_not_answer_now(status: int, said: str, hub: Hub) -> None:
    hub.failing = ("/api/models/", status)
    with pytest.raises(ConfigError, match=f"{said} for 'tiny-bert-uncased'; run it again later"):
        base_files(named("tiny-bert-uncased"))
    hub.failing = None
    assert base_files(named("tiny-bert-uncased"))
    hub.failing = ("/", status)
    assert base_files(named("tiny-bert-uncased"))  # from the cache


def test_a_download_that_is_cut_is_gone_on_with(hub: Hub, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    tokenizer_files(named("acme/tiny-bert"))  # in parallel, so that it is unknown which files came before the error
    hub.failing = ("resolve/.*safetensors", 503)
    with pytest.raises(ConfigError, match="the hub answers 503"):
        base_files(named("acme/tiny-bert"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConfigError, match=r"not \(completely\) in the hub's cache; the hub was not queried, because HF_HUB"
    ):
        base_files(named("acme/tiny-bert"))
    assert tokenizer_files(named("acme/tiny-bert"))  # all of its tokenizer is there
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.failing, hub.cut = None, BIG
    found = base_files(named("acme/tiny-bert"))["model.safetensors"]
    assert hub.cut is None and found.read_bytes() == (bert / "model.safetensors").read_bytes()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert base_files(named("acme/tiny-bert"))["model.safetensors"] == found


@pytest.mark.parametrize("file", ["vocab.txt", "vocab.json", "spiece.model", "tokenizer.json"])
def test_a_cached_tokenizer_of_any_kind_is_enough_offline(
    file: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    folder = tmp_path / "cache" / "models--acme--old" / "snapshots" / ("c" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("c" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"not \(completely\) in the hub's cache"):
        tokenizer_files(named("acme/old"))
    (folder / file).write_text("[UNK]")
    assert file in tokenizer_files(named("acme/old"))


def test_weights_in_shards_of_which_one_is_not_cached(hub: Hub, bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = tmp_path / "hub" / "models" / "acme" / "shards"
    shutil.copytree(bert, folder)
    (folder / "model.safetensors").unlink()
    AutoModel.from_pretrained(bert).save_pretrained(folder, max_shard_size="40KB")
    found = base_files(named("acme/shards"))
    shards = sorted(name for name in found if name.endswith(".safetensors"))
    assert len(shards) > 2
    found[shards[1]].unlink()
    shutil.rmtree(next((tmp_path / "cache").glob("models--acme--shards")) / "trees")  # as an older library left it
    assert sorted(base_files(named("acme/shards"))) == sorted(found)


def test_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
        monkeypatch.setattr(constants, name, getattr(constants, name).replace(hub.url, "http://127.0.0.1:9"))
    with pytest.raises(
        ConfigError, match=r"'gpt2' is not a folder here, and could not be fetched from the hub at http://127"
    ):
        base_files(named("gpt2"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"'gpt2' is not a folder here and not .* because HF_HUB_OFFLINE is set"):
        base_files(named("gpt2"))


@pytest.mark.parametrize("name", ["imdb", "nyu-mll/glue", "user/data.v1", "user/data-2.0.1"])
def test_a_data_set_without_hf_is_told_how(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=f"data.train: no file or folder '{name}'.*; a data set of the hub is written hf:{name}"
    ):
        locate(name, "data.train")
    for file in ("imdb.csv", "user/imdb.csv", "user/a.v1/imdb"):
        with pytest.raises(DataError, match=r"no file or folder '[\w./]+'[^;]*$"):
            locate(file, "data.train")


@pytest.mark.slow
def test_a_run_of_a_hub_model_on_hub_data_then_offline(bert: Path, tmp_path: Path) -> None:
    """In a process of its own: the libraries read HF_ENDPOINT when they are imported."""
    shutil.copytree(bert, tmp_path / "hub" / "models" / "legacy" / "tiny-bert-uncased")
    data = tmp_path / "hub" / "datasets" / "acme" / "topics"
    for split in ("train", "held"):
        (data / "short").mkdir(parents=True, exist_ok=True)
        rows = [f"{word} {at} {split},{word}" for at in range(16) for word in TOPICS]
        (data / "short" / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    configs = {"configs": [{"config_name": "short", "data_files": [
        {"split": split, "path": f"short/{split}.csv"} for split in ("train", "held")]}]}  # fmt: skip
    (data / "README.md").write_text(f"---\n{json.dumps(configs)}\n---\n")
    config = make_config(Path("tiny-bert-uncased"), Path("hf:acme/topics:short"), tmp_path / "store",
                         data__test="hf:acme/topics:short#held", model__revision="v1", train__max_steps=2,
                         output_dir=str(tmp_path / "out"))  # fmt: skip
    config["data"]["split"] = {"validation": 0.2}
    (tmp_path / "run.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "flows.cli", "run", "run.json", "--json"]
    with hub_at(tmp_path / "hub") as hub:
        place = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "XDG_CACHE_HOME": str(tmp_path / "own"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        for offline in ("0", "1"):
            environment = {**os.environ, **place, "HF_HUB_OFFLINE": offline, "HF_DATASETS_OFFLINE": offline}
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            asked = len(hub.asked)
        assert len(hub.asked) == asked > 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base_model: tiny-bert-uncased" in card and hub.revisions["v1"] in card
    source = f"hf:acme/topics:short#held at commit {hub.revisions['main']}"
    assert f"data.test: {source}." in card
    assert f"data.test: {source}" in (tmp_path / "out" / "report.html").read_text()
