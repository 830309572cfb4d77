"""A base that has a head already: its rows belong to classes by name, whatever their order."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, set_seed

from tasks.models.assemble import starting_model
from tasks.models.create import create
from tasks.models.load import Loading
from tasks.results.usage import usage
from tests.flow.scenes import executed
from tests.tiny import TOPICS, make_config

AUTO = {"sequence": AutoModelForSequenceClassification, "token": AutoModelForTokenClassification}


def with_head(bert: Path, folder: Path, labels: list[str], kind: str = "sequence") -> Path:
    """A base that was trained for these classes."""
    named = {"id2label": dict(enumerate(labels)), "label2id": {name: at for at, name in enumerate(labels)}}
    AUTO[kind].from_pretrained(bert, num_labels=len(labels), **named).save_pretrained(folder)
    AutoTokenizer.from_pretrained(bert).save_pretrained(folder)
    return folder


def made(
    base: Path, out: Path, labels: list[str] | None, kind: str = "sequence", problem: str | None = None
) -> tuple[Any, dict[str, torch.Tensor]]:  # fmt: skip
    """What `create` says of the head, and the weights training starts from."""
    loading = Loading(f"AutoModelFor{kind.capitalize()}Classification", "float32")
    out.mkdir()
    done = create(base, out, loading, {"labels": labels, "problem_type": problem}, 7, 0)
    files = {path.name: path for path in base.iterdir()}
    return done.head, starting_model(out, files, vars(loading), None).state_dict()


@pytest.mark.parametrize("kind", AUTO)
def test_the_same_classes_in_another_order(kind: str, bert: Path, tmp_path: Path) -> None:
    base = with_head(bert, tmp_path / "base", ["b", "c", "a"], kind)
    old = AUTO[kind].from_pretrained(base).state_dict()
    torch.nn.init.normal_(old["classifier.bias"])
    head, found = made(base, tmp_path / "out", ["a", "b", "c"], kind)
    assert head.how == "reordered" and "in another order (b, c, a): its rows are matched by class name" in head.message
    assert all(found[name].equal(old[name]) for name in old if not name.startswith("classifier"))
    assert found["classifier.weight"].equal(old["classifier.weight"][[2, 0, 1]])
    head, found = made(base, tmp_path / "same", ["b", "c", "a"], kind)
    assert head.how == "kept" and found["classifier.weight"].equal(old["classifier.weight"])


@pytest.mark.parametrize(
    ("old", "trained", "said"),
    [
        (["x", "y", "z"], "token", r"is for other classes \(x, y, z\) than the data's \(a, b, c\): the head is newly"),
        (["a", "b", "x"], "token", r"is for other classes \(a, b, x\)"),
        (["a", "b"], "token", r"has 2 classes \(a, b\), the data 3 classes \(a, b, c\): the head is newly"),
        (["a", "b", "c"], "sequence", "that of a BertForSequenceClassification, for another task: the head is newly"),
    ],
)
def test_rows_of_other_classes_are_drawn_as_without_a_head(
    old: list[str], trained: str, said: str, bert: Path, tmp_path: Path
) -> None:
    head, found = made(with_head(bert, tmp_path / "base", old, trained), tmp_path / "out", ["a", "b", "c"], "token")
    set_seed(7)
    plain = AutoModelForTokenClassification.from_pretrained(bert, num_labels=3).state_dict()
    assert head.how == "redrawn" and re.search(said, head.message)
    assert found.keys() == plain.keys() and all(found[name].equal(plain[name]) for name in plain)


def test_a_base_keeps_its_class_names_where_the_data_only_numbers_them(bert: Path, tmp_path: Path) -> None:
    base = with_head(bert, tmp_path / "base", ["neg", "pos"])
    head, found = made(base, tmp_path / "out", ["0", "1"])
    assert (head.how, head.labels) == ("kept", ["neg", "pos"])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "neg", "1": "pos"}
    old = AutoModelForSequenceClassification.from_pretrained(base).state_dict()
    assert all(found[name].equal(old[name]) for name in old)
    head, _ = made(base, tmp_path / "one_more", ["0", "1", "2"])
    assert (head.how, head.labels) == ("redrawn", ["0", "1", "2"])


NONE = ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize(
    ("old", "labels", "how", "said"),
    [
        (
            NONE,
            ["neg", "pos"],
            "redrawn",
            "has no class names (LABEL_0, LABEL_1), so its rows cannot be matched to neg",
        ),
        (NONE, ["1", "0"], "redrawn", "has no class names (LABEL_0, LABEL_1), so its rows cannot be matched to 1, 0"),
        (NONE, ["0", "1"], "kept", "labels 0 to 1 are the base's classes LABEL_0, LABEL_1: its head is kept"),
        (NONE, NONE, "kept", "training continues from the base's head for LABEL_0, LABEL_1"),
        (NONE, NONE[::-1], "reordered", "in another order (LABEL_0, LABEL_1)"),
        (["a", "a"], ["a", "b"], "redrawn", "names several of its classes 'a', so its rows cannot be matched to a, b"),
        (["a", "a"], ["0", "1"], "redrawn", "names several of its classes 'a'"),
    ],
)
@pytest.mark.parametrize("kind", AUTO)
def test_a_head_whose_names_mean_nothing(
    kind: str, old: list[str], labels: list[str], how: str, said: str, bert: Path, tmp_path: Path
) -> None:
    base = with_head(bert, tmp_path / "base", ["x", "y"], kind)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(old))}))
    head, found = made(base, tmp_path / "out", labels, kind)
    assert (head.how, head.labels) == (how, labels) and said in head.message
    was = AUTO[kind].from_pretrained(base).state_dict()["classifier.weight"]
    set_seed(7)
    plain = AUTO[kind].from_pretrained(bert, num_labels=2).state_dict()["classifier.weight"]
    expected = {"kept": was, "reordered": was[[1, 0]], "redrawn": plain}[how]
    assert found["classifier.weight"].equal(expected)


@pytest.mark.parametrize(
    ("old", "how", "said"),
    [
        (["x"], "kept", "training continues from the base's head for a number"),
        (["x", "y"], "redrawn", "the base's head has 2 classes (x, y), the data needs a number: the head is newly"),
        (None, "new", ""),
    ],
)
def test_a_head_for_a_number(old: list[str] | None, how: str, said: str, bert: Path, tmp_path: Path) -> None:
    base = with_head(bert, tmp_path / "base", old) if old else bert
    head, found = made(base, tmp_path / "out", None, problem="regression")
    assert (head.how, head.labels) == (how, None) and head.message.startswith(said) and bool(head.message) == bool(said)
    assert found["classifier.weight"].shape == (1, 32)
    if how == "kept":
        assert found["classifier.weight"].equal(AUTO["sequence"].from_pretrained(base).classifier.weight)


def test_a_base_without_a_head_says_nothing_of_one(bert: Path, tmp_path: Path) -> None:
    head, _ = made(bert, tmp_path / "none", ["neg", "pos"])
    assert (head.how, head.message) == ("new", "")


@pytest.mark.slow
def test_a_model_that_goes_on_in_another_order_loses_nothing(
    bert: Path, rows: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(bert, rows, tmp_path / "store", output_dir=str(tmp_path / "one"), train__learning_rate=2e-2)
    first = executed(config)
    still = {"train__max_steps": 1, "train__learning_rate": 1e-9, "train__warmup_steps": 0}
    again = make_config(tmp_path / "one", rows, tmp_path / "store", output_dir=str(tmp_path / "two"), **still)
    again["data"]["labels"] = [TOPICS[2], TOPICS[0], TOPICS[1]]
    second = executed(again)
    for name in ("test_accuracy", "test_loss"):
        assert second.metrics[name] == pytest.approx(first.metrics[name], rel=1e-5)
    assert second.labels == again["data"]["labels"]
    said = "the base's head has the same classes in another order"
    assert f"model.name: {said}" in caplog.text
    assert f"T{said[1:]}" in (tmp_path / "two" / "README.md").read_text()
    assert second.artifacts["s06_model"].facts["head"] == "reordered"


def test_what_is_measured_bears_the_names_that_stay(bert: Path, tmp_path: Path) -> None:
    """Through a run: the saved model, what is known of it, and rows it is measured on later."""
    from flows import inference

    base = with_head(bert, tmp_path / "base", ["neg", "pos"])
    words = ["balen", "cir", "dos"] * 16
    lines = [f"{word} {TOPICS[at % 2]},{at % 2}" for at, word in enumerate(words)]
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(["text,label", *lines]))
    done = executed(make_config(base, rows, tmp_path / "store", output_dir=str(tmp_path / "out"), train__max_steps=1,
                               data__leakage="off"))  # fmt: skip
    assert done.labels == ["neg", "pos"]
    assert json.loads((tmp_path / "out" / "inference.json").read_text())["head"]["labels"] == ["neg", "pos"]
    assert inference.evaluate(tmp_path / "out", str(rows)).rows == 48


def test_the_lines_that_load_an_adapter_run_where_its_base_has_another_head(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_head(bert, tmp_path / "base", ["a", "b"])
    more = {"train__max_steps": 1, "peft": {"method": "lora", "r": 2}}
    monkeypatch.chdir(tmp_path)
    executed(make_config(Path("base"), rows, tmp_path / "store", output_dir="out", **more))
    monkeypatch.chdir("/")
    adapter = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    lines = usage(str(tmp_path / "out"), "AutoModelForSequenceClassification", "text-classification",
                  adapter)  # fmt: skip
    exec(compile(lines, "usage", "exec"), {})
    said = capsys.readouterr().out
    assert any(topic in said for topic in TOPICS)
