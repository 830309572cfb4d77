"""Every format into one table with lineage; every unreadable file an error with its lines."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.config.errors import ConfigError, DataError
from tasks.data.sources.locate import Source, locate
from tasks.data.sources.read import read


def plain(table: pa.Table) -> dict[str, list]:
    return table.drop_columns(["__file", "__row"]).to_pydict()


def test_csv_with_quotes_newlines_and_blank_lines(put) -> None:
    text = 'text,label\r\n"a, ""b""\nc",x\r\n\r\n5" pipe,y\r\n,\r\n'
    table = read([put("a.csv", text)]).table
    assert plain(table) == {"text": ['a, "b"\nc', '5" pipe', ""], "label": ["x", "y", ""]}
    assert table["__row"].to_pylist() == [2, 5, 6]
    assert table["__file"].to_pylist() == ["a.csv"] * 3
    assert table.schema.field("__file").type == pa.dictionary(pa.int32(), pa.string())


def test_in_tsv_a_quote_is_a_character(put) -> None:
    table = read([put("a.tsv", 'text\tlabel\n"so he said\tx\nsay "it"\ty\n')]).table
    assert plain(table) == {"text": ['"so he said', 'say "it"'], "label": ["x", "y"]}
    titles = read([put("a.tsv", 'text\tlabel\n"Hamlet"\tx\n')])
    assert plain(titles.table)["text"] == ['"Hamlet"']
    stray = read([put("a.tsv", 'text\tlabel\n"a ""b"""\tx\n"so he said\ty\n')])
    assert plain(stray.table)["text"] == ['"a ""b"""', '"so he said']
    assert titles.notices == stray.notices == ()


def test_tsv_that_is_quoted_as_csv_is_read_so_and_it_is_said(put) -> None:
    for text in ('text\tlabel\n"a ""b"""\tx\nc\ty\n', '"text"\t"label"\n"a ""b"""\t"x"\n"c"\t"y"\n'):
        got = read([put("a.tsv", text)])
        assert plain(got.table) == {"text": ['a "b"', "c"], "label": ["x", "y"]}
        assert got.notices == ("data.train: tab-separated, but read with quotes as in CSV: a.tsv",)


def test_what_csv_holds_is_text_whatever_its_values(put) -> None:
    table = read([put("a.csv", "n,r,z\n1,1.5,007\n,2,008\n"), put("b.csv", "n,r,z\n-3,1e-4,x\n")]).table
    assert plain(table) == {"n": ["1", "", "-3"], "r": ["1.5", "2", "1e-4"], "z": ["007", "008", "x"]}


def test_csv_keeps_dates_and_na_as_text(put) -> None:
    assert plain(read([put("a.csv", "text,label\n2020-01-01,NA\n2020-01-02,null\n")]).table) == {
        "text": ["2020-01-01", "2020-01-02"],
        "label": ["NA", "null"],
    }


def test_csv_with_wrong_numbers_of_fields_names_the_lines(put) -> None:
    bad = "".join("x\n" for _ in range(7))
    with pytest.raises(DataError) as caught:
        read([put("a.csv", f'text,label\n"a\nb",1\n{bad}a,b,c\n')], field="data.test")
    message = str(caught.value)
    assert message.startswith("data.test: 8 problems in the files:\n  a.csv:4: 1 fields, the header has 2\n  a.csv:5:")
    assert message.endswith("and 3 more")


def test_csv_with_an_open_quote_names_where_it_opens(put) -> None:
    with pytest.raises(DataError, match=r"a.csv:3: cannot be parsed from here on: a quote is never closed"):
        read([put("a.csv", 'text,label\na,1\n"b,2\nc,3\n')])
    with pytest.raises(DataError, match=r"a.csv:2: cannot be parsed from here on: ',' expected after '\"'"):
        read([put("a.csv", 'text,label\n"b"c,2\nc,3\n')])


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("text;label;score\na, b;x;2,5\nc;y;1,5\n", ";"), ('"text";"label"\n"a;b";"x"\n"c, d";"y"\n', ";"),
        ("text\tlabel\na, b\tx\nc;d\ty\n", "\t"), ("text|label\na, b|x\nc;d|y\n", "|"),
        ("sep=|\ntext|label\na, b|x\nc|y\n", "|"), ("sep=;\ntext;label\na, b;x\nc;y\n", ";"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_csv_as_excel_writes_it(put, text: str, separator: str, encoding: str) -> None:
    got = read([put("a.csv", text.replace("\n", "\r\n").encode(encoding))])
    assert got.table.column_names[:2] == ["text", "label"] and got.table["label"].to_pylist() == ["x", "y"]
    assert got.table["__row"].to_pylist() == ([3, 4] if text.startswith("sep=") else [2, 3])
    assert f"data.train: 1 file separated by {separator!r}, not ',': a.csv" in got.notices
    assert any("utf-16" in notice for notice in got.notices) == encoding.startswith("utf-16")


@pytest.mark.parametrize("text", ["text\na;b\nc\n", "text,label\na;b,x\n", "text\na;b\nc;d\n", 'text\n"a\tb"\n'])
def test_commas_stay_the_separator_where_nothing_else_divides_all_records(put, text: str) -> None:
    got = read([put("a.csv", text)])
    assert got.table.column_names[0] == "text" and got.notices == ()


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_header_is_never_one_column_that_names_two(put, separator: str) -> None:
    text = f'text{separator}label\na{separator}x\n"{"b" * 200_000}"{separator}y{separator}z\nc\n'
    with pytest.raises(DataError) as caught:
        read([put("a.csv", text)])
    assert "a.csv:3: 3 fields, the header has 2" in str(caught.value) and "a.csv:4: 1 fields" in str(caught.value)
    if separator != "\t":
        with pytest.raises(DataError, match=r"a.tsv:1: its header has no tab, but '.'; set data.format to csv"):
            read([put("a.tsv", text)])


def test_what_is_too_large_for_rows_is_named_by_row_and_column(put, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tasks.data.sources.read.FIELD", 1000)
    long = "x" * 1001
    pq.write_table(pa.table({"text": ["a", long]}), tmp_path / "a.parquet")
    maps = pa.array([[("k", "v")], [("k", long)]], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"text": maps}), tmp_path / "b.parquet")
    put("a.csv", f"text,label\na,b\n{long},b\n"), put("a.jsonl", f'{{"text":"a"}}\n\n{{"text":"{long}"}}\n')
    put("b.jsonl", f'{{"text":["a"]}}\n{{"text":null}}\n{{"text":["b", null, "{long}"]}}\n')
    put("c.jsonl", f'{{"text":{{"a":[["x"]]}}}}\n{{"text":{{"a":[[], ["{long[:600]}", "{long[:600]}"]]}}}}\n')
    places = {"a.csv": 3, "a.jsonl": 3, "a.parquet": 2, "b.parquet": 2, "b.jsonl": 3, "c.jsonl": 2}
    for name, row in places.items():
        with pytest.raises(DataError, match=rf"{name}:{row}: 'text' holds 0.0 MiB of text, the limit is"):
            read([Source(tmp_path / name, name)])


def test_too_many_columns_are_named(put, tmp_path) -> None:
    names = [f"c{at}" for at in range(10_001)]
    cells = ",".join("0" * 10_001)
    put("a.csv", f"{','.join(names)}\n{cells}\n")
    put("a.jsonl", f'{{"c0": 1}}\n{json.dumps(dict.fromkeys(names, 0))}\n')
    for name, place in {"a.csv": "a.csv:1", "a.jsonl": "a.jsonl:2"}.items():
        with pytest.raises(DataError, match=rf"{place}: .* 10,000.* 'c10000' is the first one over"):
            read([Source(tmp_path / name, name)])


def test_csv_with_very_long_fields_leaves_the_csv_module_as_it_was(put) -> None:
    before = csv.field_size_limit()
    assert plain(read([put("a.csv", f"text\n{'x' * 300_000}\n")]).table)["text"] == ["x" * 300_000]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", " \n", "a.csv is empty"),
        ("a.csv", "text,label\n", "a.csv holds no rows but a header"),
        ("a.csv", "text,text\na,b\n", "a.csv:1: the header has 'text' twice"),
        ("a.csv", "text,__row\na,b\n", "a.csv: the column name '__row' is reserved for lineage"),
        ("a.jsonl", "", "a.jsonl is empty"),
        ("a.json", "[]", "a.json holds no rows"),
        ("a.json", '[{"a":1}', "a.json:1: invalid JSON: Expecting ',' or ']' at column 9"),
        ("a.json", '[{"a":1},\n{"a" 2}]', "a.json:2: invalid JSON: Expecting ':' delimiter at column 6"),
        ("a.json", '[{"a":1}] x', "a.json:1: invalid JSON: text after the end of the array"),
        ("a.json", '[,,{"a":1}]', "a.json:1: invalid JSON: Expecting value at column 2"),
        ("a.json", '[{"a":1},,{"a":2}]', "a.json:1: invalid JSON: Expecting value at column 10"),
        ("a.json", '[{"a":1},]', "a.json:1: invalid JSON: Expecting value at column 10"),
        ("a.json", '[{"a":1} {"a":2}]', "a.json:1: invalid JSON: Expecting ',' or ']' at column 10"),
        (
            "a.json",
            '[{"a":1},\n{"b":{"c":1,"c":2}}]',
            "a.json:2: invalid JSON: an object has the key 'c' tw",
        ),
        ("a.json", '{"a":[1],"a":[2]}', "a.json: invalid JSON: an object has the key 'a' twice"),
        (
            "a.json",
            '{"data":[\n{"a":1},\n{"a" 2}]}',
            "1 problem in the files:\n  a.json:3: invalid JSON: Expecting ':'",
        ),
        ("a.json", '{"data":[{"a":1},{"a":"x"}]}', "a.json:2: 'a' is a string, but a number at a.json:1"),
        ("a.json", '{"data":[{"a":1},3]}', "a.json:2: is a number, not an object"),
        ("a.json", '{"a":["x",1],"b":[1,2]}', "a.json:2: 'a' is a number, but a string at a.json:1"),
        ("a.jsonl", '{"a":1}\n{"a":1,"a":2}', "a.jsonl:2: invalid JSON: an object has the key 'a' twice"),
        (
            "a.csv",
            b"a\0",
            "a.csv contains null bytes: it is UTF-16 or UTF-32 without a mark, or not text; set data.encoding",
        ),
        ("a.csv", b"caf\xe9,x\nb\0, c\n", "a.csv contains null bytes"),
        ("a.json", '[{"a":1}, 3, {}]', "a.json:2: is a number, not an object"),
        ("a.jsonl", '{"a":1}\n\n{"a":\n["x"]\n', "a.jsonl:3: invalid JSON: Expecting value at column 6\n  a.jsonl:4"),
        ("a.jsonl", '{"a":1}\n{}\n', "a.jsonl:2: is an empty object"),
        ("a.jsonl", '{"a":1}\n{"a":"x"}\n', "a.jsonl:2: 'a' is a string, but a number at a.jsonl:1"),
        ("a.jsonl", '{"a":"\\ud800"}\n', "a.jsonl:1: 'a' cannot be stored"),
        ("a.jsonl", '{"a":99999999999999999999}\n', "a.jsonl:1: 'a' cannot be stored"),
        ("a.parquet", b"PAR1 torn", "a.parquet is not a readable parquet file"),
        ("a.arrow", b"", "a.arrow is not a readable arrow file"),
        ("a.csv", b"text\n\x81\n", "a.csv:2: byte 0x81 is not utf-8 or cp1252; set data.encoding"),
    ],
)
def test_what_cannot_be_read_is_named(put, name: str, content: str | bytes, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read([put(name, content)])
    assert str(caught.value).startswith("data.train: ")
    assert said in str(caught.value)


def test_problems_of_all_files_are_reported_together(put) -> None:
    with pytest.raises(DataError, match=r"2 problems in the files:\n  a.csv is empty\n  b.jsonl:1: invalid JSON"):
        read([put("a.csv", ""), put("b.jsonl", "{")])


def test_json_lines_keep_types_lines_and_missing_keys(put) -> None:
    lines = ['{"text":"2020-01-01","n":1}', "", '{"text":"b\\u2028c","n":2.5,"tags":["x"]}', '{"text":null}']
    table = read([put("a.jsonl", "\n".join(lines))]).table
    assert plain(table) == {
        "text": ["2020-01-01", "b\u2028c", None],
        "n": [1.0, 2.5, None],
        "tags": [None, ["x"], None],
    }
    assert table["__row"].to_pylist() == [1, 3, 4]


@pytest.mark.parametrize("name", ["a.json", "a.ndjson"])
def test_json_may_be_an_array(put, name: str) -> None:
    table = read([put(name, json.dumps([{"text": "a", "label": True}, {"text": "b", "label": False}], indent=1))]).table
    assert plain(table) == {"text": ["a", "b"], "label": [True, False]}
    assert table["__row"].to_pylist() == [1, 2]


def test_json_batches_meet(put) -> None:
    rows = [{"n": 1}] * 9000 + [{"n": 1.5, "m": "x"}]
    table = read([put("a.jsonl", "\n".join(map(json.dumps, rows)))]).table
    assert table.num_rows == 9001
    assert table["m"].null_count == 9000
    assert table["__row"][9000].as_py() == 9001


def test_parquet_and_arrow_files_and_streams(tmp_path, put) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b"], pa.large_string()),
            "label": pa.array(["x", "y"]).dictionary_encode(),
            "tags": [["p"], []],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(tmp_path / "b.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "a.arrow", "b.arrow"):
        got = read([Source(tmp_path / name, name)]).table
        assert plain(got) == {"text": ["a", "b"], "label": ["x", "y"], "tags": [["p"], []]}
        assert got["text"].type == got["label"].type == pa.string()
        assert got["__row"].to_pylist() == [1, 2]
    whole = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(DataError, match=r"cut.parquet is not a readable parquet file \(truncated"):
        read([put("cut.parquet", whole[: len(whole) // 2])])


def test_a_folder_per_class(put, tmp_path) -> None:
    put("d/sport/1.txt", "Win!\n\nThey won.\nAgain.\n")
    put("d/tech/2.txt", "One line")
    table = read(locate("d", "data.train", tmp_path)).table
    assert plain(table) == {
        "text": ["Win!\n\nThey won.\nAgain.\n", "One line"],
        "title": ["Win!", "One line"],
        "body": ["They won.\nAgain.", ""],
        "label": ["sport", "tech"],
        "file": ["sport/1.txt", "tech/2.txt"],
    }
    assert table["__file"].to_pylist() == ["sport/1.txt", "tech/2.txt"]
    assert table["__row"].to_pylist() == [1, 1]


def test_a_folder_does_not_mix_with_rows(put) -> None:
    with pytest.raises(DataError, match=r"x/a\.txt is one text of a folder"):
        read([put("x/a.txt", "a"), put("x/b.csv", "text\na\n")])


def test_an_unknown_extension_asks_for_the_format(put) -> None:
    source = put("a.dat", "text,label\na,b\n")
    with pytest.raises(DataError, match=r"data.train: the format of a.dat is not clear .* set data.format"):
        read([source])
    assert plain(read([source], format="csv").table) == {"text": ["a"], "label": ["b"]}
    with pytest.raises(ConfigError, match=r"data.format: 'jsnl' is none of .*; did you mean 'jsonl'\?"):
        read([source], format="jsnl")


def test_encodings_are_said_aloud(put) -> None:
    assert read([put("a.csv", "\ufefftext\né\n")]).notices == ()
    old = read([put("a.csv", "text\né£\n".encode("cp1252")), put("b.csv", "text\né\n")])
    assert plain(old.table)["text"] == ["é£", "é"]
    assert old.notices == ("data.train: 1 file read as cp1252, not UTF-8: a.csv (set data.encoding if that is wrong)",)
    assert "utf-16" in read([put("a.csv", "text\né\n".encode("utf-16"))]).notices[0]
    given = read([put("a.csv", "text\né\n".encode("latin-1"))], encoding="latin-1")
    assert plain(given.table)["text"] == ["é"]
    assert given.notices == ()


ALPHABETS = ["text,label\na,b\n", "text,étiquette\né,ü\n", "текст,метка\nщщщ,ы\n", "文本,标签\n一一一,一\n二三,四😀\n"]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ALPHABETS)
def test_wide_encodings_are_told_with_a_mark_and_without(
    put, text: str, encoding: str, large: bool, monkeypatch
) -> None:
    if large:
        monkeypatch.setattr("tasks.data.sources.text_file.LARGE", 1)
    got = read([put("a.csv", text.encode(encoding))])
    assert [list(row) for row in zip(*plain(got.table).values(), strict=True)] == list(
        csv.reader(text.splitlines()[1:])
    )
    assert got.table.column_names[:2] == text.splitlines()[0].split(",")
    assert f"1 file read as {encoding}, not UTF-8" in got.notices[0]


def test_a_large_file_that_ends_within_a_character_is_refused(put, monkeypatch) -> None:
    monkeypatch.setattr("tasks.data.sources.text_file.LARGE", 1)
    with pytest.raises(DataError, match=r"a.csv:\d: is not utf-16; set data.encoding"):
        read([put("a.csv", "text\na\n".encode("utf-16") + b"b")])


def test_a_given_encoding_is_not_second_guessed(put) -> None:
    with pytest.raises(DataError, match=r"a.csv:3: byte 0xe9 is not utf-8; set data.encoding"):
        read([put("a.csv", b"text\na\n\xe9\n")], encoding="utf-8")
    for unknown in ("utf-99", "undefined", "\0"):
        with pytest.raises(ConfigError, match=r"data.encoding: .* is not a known encoding"):
            read([put("a.csv", "text\na\n")], encoding=unknown)


def test_files_share_their_columns_in_any_order(put) -> None:
    table = read([put("a.csv", "text,label\na,1\n"), put("b.jsonl", '{"label":2,"text":"b"}')]).table
    assert plain(table) == {"text": ["a", "b"], "label": ["1", "2"]}
    assert [f"{f}:{r}" for f, r in zip(table["__file"].to_pylist(), table["__row"].to_pylist(), strict=True)] == [
        "a.csv:2",
        "b.jsonl:1",
    ]
    with pytest.raises(DataError, match=r"b.csv: columns differ .* a.csv: it lacks label and also has stars"):
        read([put("a.csv", "text,label\na,1\n"), put("b.csv", "text,stars\na,1\n")])
    with pytest.raises(DataError, match=r"b.jsonl:1: 'label' holds list<.*>, but string at a.csv:2"):
        read([put("a.csv", "text,label\na,1\n"), put("b.jsonl", '{"label":["2"],"text":"b"}')])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(put) -> None:
    source = put("a.csv", "text\na\n")
    source.path.chmod(0)
    with pytest.raises(DataError, match=r"a.csv cannot be read"):
        read([source])


@pytest.mark.parametrize("name", ["banking77/train.csv", "stsb/train.tsv", "stsb/validation.tsv", "trec6/train.csv"])
def test_real_text_files_equal_their_parquet(real, name: str) -> None:
    text = read(locate(str(real(name)), "data.train")).table
    rows = read(locate(str(real(name).with_suffix(".parquet")), "data.train")).table
    assert text.column_names == rows.column_names
    for name, values in plain(rows).items():
        assert [type(values[0])(value) for value in plain(text)[name]] == values  # such a file has no types


def test_real_json_lines_equal_their_parquet(real) -> None:
    text = read(locate(str(real("go_emotions/validation.jsonl")), "data.train")).table
    rows = read(locate(str(real("go_emotions/validation.parquet")), "data.train")).table
    assert plain(text) == plain(rows)


def test_the_room_is_cheap_to_import() -> None:
    code = (
        "import sys, tasks.data.sources.read, tasks.data.curation.check, tasks.data.curation.split\n"
        "import tasks.data.rows.labels, tasks.data.tables.arrow_file\n"
        "print({'torch', 'transformers', 'prefect', 'pandas', 'datasets', 'pyarrow.parquet'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("a0", 1, ["a0", "1"]),
        ({"a": 1}, {"a": "s"}, ['{"a": 1}', '{"a": "s"}']),
        (2**70, None, [str(2**70), None]),
        ([1], [{"x": None}], ["[1]", '[{"x": null}]']),
        ("\ud800", "b", ["?", "b"]),
    ],
)
def test_a_column_of_several_types_is_text_if_it_is_not_used(put, first: Any, second: Any, kept: list[Any]) -> None:
    source = put("a.jsonl", lines({"text": "x", "id": first}, {"text": "y", "id": second}))
    found = read([source], used=lambda column: column == "text")
    assert found.table["id"].to_pylist() == kept and found.table["text"].to_pylist() == ["x", "y"]
    assert [("not used" in notice, "a.jsonl:" in notice) for notice in found.notices] == [(True, True)]
    with pytest.raises(DataError, match="'id'"):
        read([source], used=lambda column: column == "id")


def test_so_it_is_where_types_differ_between_files_or_far_apart(put) -> None:
    sources = [put("a.jsonl", lines({"text": "x", "id": 1})), put("b.jsonl", lines({"text": "y", "id": "b"}))]
    assert read(sources, used=lambda column: column == "text").table["id"].to_pylist() == ["1", "b"]
    with pytest.raises(DataError, match=r"b.jsonl:1: 'id' holds string, but int64 at a.jsonl:1"):
        read(sources)
    far = put("c.jsonl", lines(*({"text": "x", "id": at} for at in range(9000)), {"text": "y", "id": {"a": 1}}))
    assert read([far], used=lambda column: column == "text").table["id"].to_pylist()[-2:] == ["8999", '{"a": 1}']


def test_a_number_among_words_is_named(put) -> None:
    with pytest.raises(DataError, match=r"a.jsonl:2: 'tokens' is a list of several types: a number, a string"):
        read([put("a.jsonl", lines({"tokens": ["a"]}, {"tokens": ["in", 1984]}))])
