"""Data as people really bring it: each defect is found by `finetune lint`, without weights, and its row is named.

The defects are those that users of other trainers met after minutes or hours of work: records that cannot be read,
columns and labels that do not fit, answers and tags beside their texts, repeats, leaks, rows cut short.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DATA, CONFIG = 3, 2
GOOD = [{"text": f"word{at} goes with word{at + 1} here", "label": "ab"[at % 2]} for at in range(20)]
QA = {"question": "who?", "context": "the fox ran", "answers": {"text": ["fox"], "answer_start": [4]}}
NER = {"tokens": ["the", "fox"], "ner_tags": ["O", "B-ANIMAL"]}
PAIR = {"source": "the fox", "target": "a fox"}


def lines(rows: list[Any]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def numbered(row: dict[str, Any], key: str, count: int = 12) -> list[dict[str, Any]]:
    """The row many times, told apart by a number in one of its texts."""

    def other(value: Any, at: int) -> Any:
        return [*value, str(at)] if isinstance(value, list) else f"{value} {at}"

    rows = [row | {key: other(row[key], at)} for at in range(count)]
    return [each | ({"ner_tags": [*each["ner_tags"], "O"]} if key == "tokens" else {}) for each in rows]


def among(good: list[Any], bad: Any, at: int = 6) -> list[Any]:
    return [*good[:at], *(bad if isinstance(bad, list) else [bad]), *good[at:]]


@dataclass(frozen=True)
class Defect:
    """`says` are parts of the error, or, where `code` is 0, of one warning."""

    name: str
    files: dict[str, Any]
    says: tuple[str, ...]
    task: str = "text-classification"
    code: int = DATA
    data: dict[str, Any] = field(default_factory=dict)


def rows(*given: Any, name: str = "rows.jsonl") -> dict[str, Any]:
    return {name: lines(list(given))}


def leak(copies: int) -> dict[str, Any]:
    return {
        **rows(*GOOD),
        "test.jsonl": lines([*GOOD[:copies], *({"text": f"new{at} words are these", "label": "a"} for at in range(9))]),
    }


NEAR = [{"text": " ".join(f"w{at}x{n}" for n in range(30)), "label": "ab"[at % 2]} for at in range(12)]

DEFECTS = (
    Defect("broken-json", rows(*among(GOOD, '{"text": "x", ')), ("rows.jsonl:7", "invalid JSON")),
    Defect("json-null-record", rows(*among(GOOD, "null")), ("rows.jsonl:7", "null")),
    Defect("json-list-record", rows(*among(GOOD, "[1, 2]")), ("rows.jsonl:7", "a list")),
    Defect("json-changes-type", rows(*among(GOOD, {"text": 5, "label": "a"})), ("rows.jsonl:7", "'text' is a number")),
    Defect("csv-short-row", {"rows.csv": "text,label\na b,x\nc\nd e,y\n"}, ("rows.csv:3", "1 fields")),
    Defect("csv-long-row", {"rows.csv": "text,label\na b,x\nc,d,e\nd e,y\n"}, ("rows.csv:3", "3 fields")),
    Defect("csv-open-quote", {"rows.csv": 'text,label\na,x\n"b,y\nc,x\n'}, ("rows.csv:3", "never closed")),
    Defect("csv-header-twice", {"rows.csv": "text,text\na,x\n"}, ("rows.csv:1", "twice")),
    Defect("no-rows", {"rows.csv": "text,label\n"}, ("rows.csv", "no rows")),
    Defect("empty-file", {"rows.csv": ""}, ("rows.csv", "empty")),
    Defect(
        "wrong-encoding",
        {"rows.csv": "text,label\nok,x\ncafé,y\n".encode("latin-1")},
        ("rows.csv:3", "0xe9"),
        data={"encoding": "utf-8"},
    ),
    Defect("parquet-cut-short", {"rows.parquet": b"PAR1 nothing"}, ("rows.parquet", "not a readable parquet")),
    Defect(
        "files-of-other-columns",
        {"a.csv": "text,label\na,x\n", "b.csv": "words,label\nb,y\n"},
        ("b.csv", "columns differ"),
        data={"train": ["a.csv", "b.csv"]},
    ),
    Defect("column-missing", rows({"prose": "x", "label": "a"}), ("data.columns.text", "'prose'")),
    Defect(
        "column-misspelt",
        rows(*GOOD),
        ("data.columns.text", "'txet'", "did you mean 'text'"),
        data={"columns": {"text": "txet"}},
    ),
    Defect(
        "two-text-columns",
        rows({"text": "x", "content": "y", "label": "a"}),
        ("data.columns.text", "several columns match"),
    ),
    Defect("text-null", rows(*among(GOOD, {"text": None, "label": "a"})), ("rows.jsonl:7", "no value")),
    Defect("text-empty", rows(*among(GOOD, {"text": " ", "label": "a"})), ("rows.jsonl:7", "empty text")),
    Defect("text-is-number", rows(*({**row, "text": 7} for row in GOOD)), ("rows.jsonl:2", "not text")),
    Defect("label-missing", rows(*among(GOOD, {"text": "some", "label": None})), ("rows.jsonl:7", "without a label")),
    Defect("label-key-missing", rows(*among(GOOD, {"text": "some"})), ("rows.jsonl:7", "without a label")),
    Defect("one-class", rows(*({**row, "label": "a"} for row in GOOD)), ("every row has the label 'a'",)),
    Defect(
        "label-unseen",
        {**rows(*GOOD), "test.jsonl": lines([{"text": "n e w", "label": "c"}])},
        ("data.test", "'c'", "test.jsonl:1"),
        data={"test": "test.jsonl"},
    ),
    Defect("label-not-listed", rows(*GOOD), ("data.labels", "'b'", "rows.jsonl:2"), data={"labels": ["a", "c"]}),
    Defect(
        "class-too-rare-to-split",
        rows(*GOOD, {"text": "lonely one", "label": "c"}),
        ("'c'", "rows.jsonl:21"),
        data={"split": {"validation": 0.2}},
    ),
    Defect(
        "multi-label-flag",
        {"rows.csv": "text,x,y\na b,0,1\nc d,2,0\ne f,1,0\n"},
        ("rows.csv:3", "neither 0 nor 1"),
        data={"columns": {"label": ["x", "y"]}},
    ),
    Defect(
        "score-is-word",
        {"rows.csv": "text,score\na b,1.5\nc d,high\ne f,2.5\n"},
        ("rows.csv:3", "'high'"),
        task="regression",
    ),
    Defect(
        "score-is-constant",
        {"rows.csv": "text,score\na b,1.5\nc d,1.5\ne f,1.5\n"},
        ("1.5", "at least two different values"),
        task="regression",
    ),
    Defect(
        "score-infinite",
        rows(*({"text": f"t {at}", "score": at} for at in range(9)), '{"text": "x", "score": Infinity}'),
        ("rows.jsonl:10",),
        task="regression",
    ),
    Defect(
        "tags-uneven",
        rows(*among(numbered(NER, "tokens"), {"tokens": ["a", "b"], "ner_tags": ["O"]})),
        ("rows.jsonl:7", "2 words and 1 tag"),
        task="token-classification",
    ),
    Defect(
        "tags-null-word",
        rows(*among(numbered(NER, "tokens"), {"tokens": ["a", None], "ner_tags": ["O", "O"]})),
        ("rows.jsonl:7", "null among the words"),
        task="token-classification",
    ),
    Defect(
        "tags-no-words",
        rows(*among(numbered(NER, "tokens"), {"tokens": [], "ner_tags": []})),
        ("rows.jsonl:7", "without words"),
        task="token-classification",
    ),
    Defect(
        "tags-string",
        {"rows.csv": "tokens,ner_tags\na b,O O\nc d,O O\n"},
        ("data.columns.tokens", "not lists"),
        task="token-classification",
    ),
    Defect(
        "tags-broken-scheme",
        rows(*among(numbered(NER, "tokens"), {"tokens": ["a", "b"], "ner_tags": ["O", "I-ANIMAL"]})),
        ("rows.jsonl:7", "I- tag"),
        task="token-classification",
        code=0,
        data={"split": {"validation": 0.0}},
    ),
    Defect(
        "conll-word-alone",
        {"rows.conll": "the O\nfox B-X\n\nran\n"},
        ("rows.conll:4", "without a tag"),
        task="token-classification",
    ),
    Defect(
        "span-outside",
        rows(
            {"text": "the fox", "spans": [{"start": 4, "end": 7, "label": "X"}]},
            {"text": "a fox", "spans": [{"start": 4, "end": 9, "label": "X"}]},
        ),
        ("rows.jsonl:2", "outside its text"),
        task="token-classification",
    ),
    Defect(
        "spans-overlap",
        rows(
            {
                "text": "the fox ran",
                "spans": [{"start": 0, "end": 7, "label": "X"}, {"start": 4, "end": 9, "label": "Y"}],
            }
        ),
        ("rows.jsonl:1", "overlaps"),
        task="token-classification",
    ),
    Defect(
        "answer-offset",
        rows(*among(numbered(QA, "question"), QA | {"answers": {"text": ["fox"], "answer_start": [5]}})),
        ("rows.jsonl:7", "answer_start"),
        task="question-answering",
    ),
    Defect(
        "answer-not-in-context",
        rows(*among(numbered(QA | {"answers": "fox"}, "question"), QA | {"answers": "dog"})),
        ("rows.jsonl:7", "is not in its context"),
        task="question-answering",
    ),
    Defect(
        "answer-start-missing",
        rows(*among(numbered(QA, "question"), QA | {"answers": {"text": ["fox"], "answer_start": []}})),
        ("rows.jsonl:7", "different number of answer_start"),
        task="question-answering",
    ),
    Defect(
        "question-empty",
        rows(*among(numbered(QA, "question"), QA | {"question": ""})),
        ("rows.jsonl:7", "empty text"),
        task="question-answering",
    ),
    Defect(
        "squad-without-context",
        {"rows.json": json.dumps({"data": [{"paragraphs": [{"qas": [{"question": "who?"}]}]}]})},
        ("rows.json:1", "without 'context'"),
        task="question-answering",
    ),
    Defect(
        "target-empty",
        rows(*among(numbered(PAIR, "source"), PAIR | {"target": ""})),
        ("rows.jsonl:7", "empty text"),
        task="sequence-sequence",
    ),
    Defect(
        "target-null",
        rows(*among(numbered(PAIR, "source"), PAIR | {"target": None})),
        ("rows.jsonl:7", "no value"),
        task="sequence-sequence",
    ),
    Defect(
        "leak",
        leak(3),
        ("data.test", "test.jsonl:1", "data.leakage: remove"),
        data={"test": "test.jsonl", "leakage": "error"},
    ),
    Defect(
        "leak-as-benchmarks-have-it",
        leak(3),
        ("data.test", "test.jsonl:1", "_unseen"),
        code=0,
        data={"test": "test.jsonl"},
    ),
    Defect(
        "near-leak",
        {"rows.jsonl": lines(NEAR), "test.jsonl": lines([{"text": NEAR[3]["text"].upper() + "!", "label": "a"}])},
        ("data.test", "nearly repeats", "test.jsonl:1"),
        code=0,
        data={"test": "test.jsonl"},
    ),
    Defect("repeats", rows(*GOOD, GOOD[4]), ("repeats an earlier", "rows.jsonl:21"), code=0),
    Defect(
        "contradictions",
        rows(*GOOD, GOOD[4] | {"label": "b"}),
        ("different label", "rows.jsonl:5", "rows.jsonl:21"),
        code=0,
    ),
    Defect(
        "mojibake",
        rows(*among(GOOD, {"text": "itâ€™s broken", "label": "a"})),
        ("wrong encoding", "rows.jsonl:7"),
        code=0,
    ),
    Defect("html", rows(*among(GOOD, {"text": "line<br/>line", "label": "a"})), ("HTML", "rows.jsonl:7"), code=0),
    Defect(
        "control-characters",
        rows(*among(GOOD, {"text": "a\u0000b", "label": "a"})),
        ("control", "rows.jsonl:7"),
        code=0,
    ),
    Defect(
        "labels-differ-by-case",
        rows(*({**row, "label": row["label"].upper() if at > 15 else row["label"]} for at, row in enumerate(GOOD))),
        ("case or spaces", "'A' and 'a'"),
        code=0,
    ),
    Defect(
        "labels-with-gaps",
        rows(*({**row, "label": at % 3 * 2} for at, row in enumerate(GOOD))),
        ("gaps", "1, 3"),
        code=0,
    ),
    Defect(
        "uneven-classes",
        rows(*({"text": f"plenty {at} of these", "label": "a"} for at in range(300)), *GOOD[1::2]),
        ("imbalanced", "'a'"),
        code=0,
    ),
    Defect(
        "class-of-few-rows",
        rows(*GOOD, *({"text": f"rare {at}", "label": "c"} for at in range(4))),
        ("'c' (", "fewer than"),
        code=0,
    ),
    Defect(
        "time-missing",
        rows(*({**row, "day": None if at == 5 else f"2026-01-{at + 1:02d}"} for at, row in enumerate(GOOD))),
        ("data.split.time", "rows.jsonl:6"),
        data={"split": {"time": "day"}},
    ),
    Defect(
        "group-column-misspelt",
        rows(*({**row, "author": at} for at, row in enumerate(GOOD))),
        ("data.split.group_by", "did you mean 'author'"),
        data={"split": {"group_by": "autor"}},
    ),
    Defect(
        "language-model-text-null",
        rows(*among([{"text": row["text"]} for row in GOOD], {"text": None})),
        ("rows.jsonl:7", "no value"),
        task="language-generation",
    ),
    Defect(
        "task-misspelt",
        rows(*GOOD),
        ("task", "did you mean 'text-classification'"),
        task="text-clasification",
        code=CONFIG,
    ),
)


def test_there_are_enough() -> None:
    assert len({defect.name for defect in DEFECTS}) >= 40


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_is_found(defect: Defect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from flows.cli import main

    monkeypatch.chdir(tmp_path)
    for name, content in defect.files.items():
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    data = {"train": next(iter(defect.files)), **defect.data}
    config = {"task": defect.task, "model": "nobody/has-this-model", "data": data, "store": {"root": "store"}}
    Path("config.yaml").write_text(json.dumps(config))
    code = main(["lint", "config.yaml", "--json", "--rejected", "rejected.jsonl"])
    said = capsys.readouterr()
    assert code == defect.code, said.err
    if code:
        assert all(part in said.err for part in defect.says), said.err
        assert "Traceback" not in said.err
    else:
        warnings = json.loads(said.out.splitlines()[-1])["warnings"]
        assert any(all(part in line for part in defect.says) for line in warnings), warnings
    assert not Path("store").exists(), "a check writes nothing"


def test_bad_rows_are_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from flows.cli import main

    monkeypatch.chdir(tmp_path)
    bad = [{"text": "", "label": "a"}, {"text": None, "label": "b"}]
    Path("rows.jsonl").write_text(lines(among(GOOD, bad)))
    Path("config.yaml").write_text(json.dumps({"model": "m/m", "data": {"train": "rows.jsonl"}}))
    assert main(["lint", "config.yaml", "--rejected", "rejected.jsonl"]) == DATA
    found = [json.loads(line) for line in Path("rejected.jsonl").read_text().splitlines()]
    assert sorted((each["file"], each["line"]) for each in found) == [("rows.jsonl", 7), ("rows.jsonl", 8)]
    assert {each["row"]["label"] for each in found} == {"a", "b"} and all("text" in each["why"] for each in found)
    assert "2 invalid rows written to rejected.jsonl" in capsys.readouterr().err


def test_rows_that_only_a_warning_names_are_not_put_aside(tmp_path: Path) -> None:
    """A warning's place may be the beginning of an error's, its end, or the same words for other rows."""
    import pyarrow as pa

    from tasks.config import DataError
    from tasks.data.messages import rows_at
    from tasks.execution.lint import rejecting_rows

    table = pa.table({"text": [f"t{at}" for at in range(40)], "__file": ["a.csv"] * 40, "__row": list(range(40))})
    five = [1, 2, 3, 4, 5]

    def check(warned: list[int], bad: list[int]) -> None:
        rows_at(table, warned)
        raise DataError(f"data.train: {len(bad)} rows with empty text: {rows_at(table, bad)}")

    for warned, bad in (([3], [31]), ([3], [3, 9]), ([9], [3, 9]), ([*five, 6, 7], [*five, 8, 9]), ([3, 9], [3])):
        with pytest.raises(DataError, match=rf"{len(bad)} invalid rows? written to"):
            rejecting_rows(lambda warned=warned, bad=bad: check(warned, bad), tmp_path / "rejected.jsonl")
        found = [json.loads(line)["line"] for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
        assert found == bad, (warned, bad)


def test_what_is_printed_of_good_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.terminal.run import show_lint
    from tasks.config import DataConfig
    from tasks.data.sources.locate import locate
    from tasks.data.sources.read import read
    from tasks.objectives import objective_of

    def shown(task: str, given: list[Any]) -> str:
        path = tmp_path / "rows.jsonl"
        path.write_text(lines(given))
        objective = objective_of(task)
        data = DataConfig.model_validate({"train": str(path), "split": {"validation": 0.0}})
        found = objective.component("prepare")(
            {"train": read(locate(str(path), "data.train")).table}, data, objective.roles
        )
        assert found.preview["words"].keys() == {"median", "p95", "max"}
        rows = {split: table.num_rows for split, table in found.splits.items()}
        show_lint({"rows": rows, "columns": found.columns, "preview": found.preview, "warnings": []})
        return " ".join(capsys.readouterr().out.split())

    said = shown("text-classification", [{"review": row["text"], "label": row["label"]} for row in GOOD[:19]])
    assert "rows: train 19; columns: text (review), label 2 classes in train: a 10, b 9" in said
    assert "p95" in said and "max" in said
    assert "2 classes in train: x 2, y 1" in shown(
        "text-classification", [{"text": "one", "label": ["x", "y"]}, {"text": "two", "label": ["x"]}]
    )
    assert "3 classes in train: B-ANIMAL 1, O 1, I-ANIMAL 0" in shown("ner", [NER])
    assert "classes" not in shown("language-modeling", [{"text": f"some words {at}"} for at in range(3)])
    many = shown("text-classification", [{"text": f"t {at}", "label": f"c{at % 20:02}"} for at in range(41)])
    assert "20 classes in train: c00 3, c01 2," in many and "8 more, c19 2" in many
