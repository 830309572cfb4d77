"""A query reads one thing and changes nothing; a secret in a URL is named, never written."""

import os
import sqlite3
import traceback
from pathlib import Path

import pytest

from flows import api
from tasks.config import ConfigError, load
from tasks.config.errors import DataError, FinetuneError
from tasks.data.sources.fetch import from_database
from tasks.data.sources.locate import locate
from tasks.data.sources.query import one_select, reading_engine
from tests.tiny import make_config

CANARY = "hunter2-canary"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "t.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table victim (text, label)")
        connection.executemany("insert into victim values (?, ?)", [(f"word {i}", "ab"[i % 2]) for i in range(12)])
    return path


READING = [
    "select text, label from victim",
    "  SELECT * FROM victim ; ",
    "with some as (select * from victim) select * from some",
    "(select text from victim)",
    "values (1), (2)",
    "select 'delete; drop table x -- no' as text, \"update\" from t",
    "select replace(text, 'a', 'b'), insert(text, 1, 2, 'x') from t -- delete; later",
    "select /* drop; */ text from t where note = 'it''s into'",
    "select [into] from t", "select `delete` from t", "select $tag$; drop $tag$ as text",
]  # fmt: skip
WRITING = [
    "DROP TABLE victim",
    "VACUUM INTO '{folder}/copy.db'",
    "ATTACH '{folder}/new.db' AS new",
    "DELETE FROM victim RETURNING *",
    "insert into victim values (1, 2) returning *",
    "update victim set text = '' returning *",
    "replace into victim values (1, 2)",
    "create table new as select * from victim",
    "pragma writable_schema = on",
    "select 1; drop table victim",
    "select 1 ;;; delete from victim",
    "with gone as (delete from victim returning *) select * from gone",
    "with x as (select 1) insert into victim select * from x returning *",
    "select * into new from victim",
    "select text from victim into outfile '{folder}/x'",
    "-- select\ndrop table victim",
    "/* select */ drop table victim",
    "explain select 1",
    "call f()",
    "copy victim to '{folder}/x'",
    "begin",
    ";",
    "'select'",
]


@pytest.mark.parametrize("query", READING)
def test_one_select_is_taken(query: str) -> None:
    assert one_select(query, "data.train") == query.strip().rstrip(";")


@pytest.mark.parametrize("query", WRITING)
def test_all_else_is_refused_and_nothing_changes(query: str, database: Path, tmp_path: Path) -> None:
    before = database.read_bytes(), sorted(tmp_path.iterdir())
    spec = f"sql:sqlite:///{database}::{query.format(folder=tmp_path)}"
    with pytest.raises(ConfigError, match=r"data\.train: a query is one SELECT"):
        locate(spec, "data.train", cache=tmp_path / "cache")
    assert (database.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_lint_refuses_it_too(database: Path, bert: Path) -> None:
    config = {"model": str(bert), "data": {"train": f"sql:sqlite:///{database}::DROP TABLE victim"}}
    with pytest.raises(ConfigError, match=r"data\.train: .* DROP is not run"):
        api.lint(load(config))
    with sqlite3.connect(database) as connection:
        assert connection.execute("select count(*) from victim").fetchone() == (12,)


def test_a_run_asks_once(
    database: Path, bert: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(spec: str, field: str, cache: Path) -> Path:
        asked.append(spec)
        return from_database(spec, field, cache)

    monkeypatch.setattr("tasks.data.sources.locate.from_database", ask)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = f"sql:sqlite:///{database}::select text, null as label from victim"
    config = make_config(bert, tmp_path / "none", tmp_path / "store", data__train=source)
    for runs in (1, 2):
        with pytest.raises(DataError, match="label"):
            api.run(load(config))
        assert asked == [source] * runs, "once to see what is missing and to read it; again for another run"


def test_the_connection_itself_cannot_write(database: Path) -> None:
    from sqlalchemy import make_url, text
    from sqlalchemy.exc import OperationalError

    with reading_engine(make_url(f"sqlite:///{database}")).connect() as connection:
        assert connection.execute(text("select count(*) from victim")).scalar() == 12
        with pytest.raises(OperationalError, match="readonly"):
            connection.execute(text("delete from victim"))


SECRETS = [
    f"sql:postgresql://me:{CANARY}@host/db::select 1",
    f"sql:postgresql://me:{CANARY}@$HOST/db::select 1",
    f"sql:$SCHEME://me:{CANARY}@host/db::select 1",
    f"sql:${{START}}me:{CANARY}@$HOST/db::select 1",
    f"sql:$DBP?password={CANARY}::select 1",
    f"sql:$DBP?user=$ME&Password={CANARY}::select 1",
    f"sql:postgresql://$ME:$PW{CANARY}@host/db::select 1",
    f"sql:mssql://?odbc_connect=UID%3Dme%3BPWD%3D{CANARY}::select 1",
    f"http://me:{CANARY}@host/rows.csv",
    f"https://{CANARY}@host/rows.csv",
    f"https://host/rows.csv?token={CANARY}",
    f"https://host/rows.csv?a=1&X-Amz-Signature={CANARY}",
    f"https://host/rows.csv?sv=2024&sig={CANARY}",
    f"https://host/$PART/rows.csv?api_key={CANARY}",
    f"s3://AKIA:{CANARY}@bucket/rows.csv",
]
NAMED = [
    "sql:postgresql://$ME:$PW@host/db::select 1",
    "sql:postgresql://me:${PW}@$HOST:5432/db?sslmode=require::select a from b where c = ':x@y'",
    "sql:$DBP?password=$PW::select 1",
    "sql:sqlite:////data/of@me/rows.db::select 1",
    "https://host/rows.csv?token=$TOKEN",
    "https://host/rows.csv?sv=2024&sig=$SIG&x=1",
    "https://host/rows.csv?page=1&keyword=tokens",
    "https://$ME:$PW@host/rows.csv",
    "hf:me/rows@main#train",
    "s3://bucket/a:b@c/rows.csv",
]


@pytest.mark.parametrize("source", SECRETS)
def test_a_secret_in_a_url_is_refused_with_the_way_to_name_it(source: str) -> None:
    for field in ("data.train", "data.test", "model.name", "store.root", "output_dir"):
        with pytest.raises(ConfigError, match=r"\$NAME") as error:
            load({"model": "m", "data": "d.csv"}, settings={field: source})
        assert CANARY not in str(error.value)
    if source.startswith("sql:"):
        with pytest.raises(ConfigError) as error:
            locate(source, "data.train")
        assert CANARY not in str(error.value)


@pytest.mark.parametrize("source", NAMED)
def test_a_name_of_a_secret_is_none(source: str) -> None:
    assert load({"model": "m", "data": "d.csv"}, settings={"data.train": source}).config.data.train == source


@pytest.mark.parametrize(
    ("source", "variable", "value", "kind"),
    [
        ("sql:$DBP::select 1", "DBP", f"postgresql://me:{CANARY}@127.0.0.1:1/db", FinetuneError),
        ("sql:$DBP::select 1", "DBP", f"{CANARY} is no URL", ConfigError),
        ("sql:$DBP::select 1", "DBP", f"sqlite:////nowhere/{CANARY}.db", DataError),
        ("http://127.0.0.1:1/rows.csv?token=$DBP", "DBP", CANARY, DataError),
        ("https://me:$DBP@127.0.0.1:1/rows.csv", "DBP", CANARY, DataError),
    ],
)
def test_what_fails_says_the_name(
    source: str, variable: str, value: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(kind) as error:
        locate(source, "data.train", cache=tmp_path)
    assert CANARY not in "".join(traceback.format_exception(error.value))
    assert not [name for _, folders, files in os.walk(tmp_path) for name in (*folders, *files) if CANARY in name]


def test_a_name_that_is_not_set_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigError, match=r"\$NOT_SET in the database URL is not set"):
        locate("sql:$NOT_SET::select 1", "data.train")
