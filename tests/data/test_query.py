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
from tasks.data.sources.query import one_select, read_only_engine
from tasks.data.sources.read import read
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
    ("sqlite", "select text, label from victim"),
    ("sqlite", "  SELECT * FROM victim ; "),
    ("sqlite", "with some as (select * from victim), b as (values (2)) select * from some"),
    ("sqlite", "(select text from victim)"),
    ("sqlite", "values (1), (2)"),
    ("postgresql", "select 'delete; drop table x -- no' as text, \"update\" from t"),
    ("mysql", "select replace(text, 'a', 'b'), insert(text, 1, 2, 'x') from t -- delete; later"),
    ("sqlite", "select /* drop; */ text from t where note = 'it''s into'"),
    ("sqlite", "select [in;to] from t"), ("mysql", "select `dele;te` from t"),
    ("postgresql", "select $tag$; ' drop $tag$ as text, $$;$$"),
    ("postgresql", "-- of mine\n/* too */ select 1"), ("postgresql", "select 1; -- done\n/* so */ ; "),
    ("postgresql", "select t.update, t . into, merge, (update), update from t"),
    ("postgresql", "select count(*) update, nextval from t"),
    ("postgresql", "select data #>> '{a,b}', a[1:2], ':a b', x::text, a$b, $1 from t where x = ']'"),
    ("sqlite", "select 'C:\\', '\\\\' from t"), ("mysql", "select 'a\\nb', '\\\\' from t"),
    ("mysql", "select 5--1, /*+ a hint */ 2 # drop; \n, 3"), ("postgresql", "select 1 -- a line\r\n, 2"),
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


@pytest.mark.parametrize(("dialect", "query"), READING)
def test_one_select_is_taken(dialect: str, query: str) -> None:
    taken = one_select(query, "data.train", dialect)
    assert query.strip().startswith(taken) and set(query.strip().removeprefix(taken)[:1]) <= {" ", ";"}


@pytest.mark.parametrize(
    ("dialect", "query"),
    [
        ("postgresql", r"select E'\''; COMMIT; DROP TABLE t --'"),
        ("mysql", r"select '\''; drop table t; -- '"),
        ("mysql", r"select '\\\''; drop table t; -- '"),
        ("mysql", "select 1 /*! INTO OUTFILE '/tmp/x' */"),
        ("mariadb", "select 1 /*M!50000 INTO OUTFILE '/tmp/x' */"),
        ("mysql", "select /* /* */ 1; drop table t; -- */"),
        ("postgresql", "select /*/*/ 1; drop table t */"),
        ("postgresql", "select 1 -- x\r; drop table t"),
        ("mysql", "select $$ ; drop table t; $$"),
        ("postgresql", "select a$$ ; drop table t; select $$"),
        ("postgresql", "select €$$ ; drop table t; $$"),
        ("postgresql", "select array['[']; drop table t; --]"),
        ("mysql", "select 1 #'\n; drop table t; -- '"),
        ("mysql", "select 1. into outfile 'x'"),
        ("postgresql", "select 1 for update"),
        ("postgresql", "select 1 for no key update"),
        ("postgresql", 'with x as materialized (update "t" set a = 1 returning 1) select 1'),
        ("sqlite", "with x as (select 1) replace into t select 1"),
        ("mssql", "select 1 drop table t"),
        ("mssql", "select next value for s"),
        ("postgresql", "select 'open"),
        ("postgresql", "select /* open"),
        ("postgresql", "select $$ open"),
        ("postgresql", "select pg_terminate_backend(1)"),
        ("postgresql", "select pg_catalog . PG_Terminate_Backend (1)"),
        ("postgresql", 'select "pg_terminate_backend"(1)'),
        ("postgresql", "select lo_unlink(1)"),
        ("postgresql", "select * from dblink('db', 'drop table t') as t(a int)"),
        ("postgresql", "select dblink_exec('drop table t')"),
        ("postgresql", "select nextval('s')"),
        ("sqlite", "select load_extension('x')"),
    ],
)
def test_what_writes_by_the_rules_of_one_database_is_refused(dialect: str, query: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.train: a query must be one SELECT"):
        one_select(query, "data.train", dialect)


@pytest.mark.parametrize("said", [":a b", "a::b", r"\:x", r"\\:x", "50%", "%s", ":x:y", "::", ": x"])
def test_a_text_in_a_query_stays_what_it_is(said: str, database: Path, tmp_path: Path) -> None:
    spec = f"sql:sqlite:///{database}::-- first\nselect '{said}' as text; -- last"
    assert read(locate(spec, "data.train", cache=tmp_path)).table["text"].to_pylist() == [said]


def test_a_column_that_a_query_gives_twice_is_named(database: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.train: the query returns the column 'a' twice; rename one with AS"):
        locate(f"sql:sqlite:///{database}::select 1 as a, 2 as a, 3 as b", "data.train", cache=tmp_path)


@pytest.mark.parametrize("query", WRITING)
def test_all_else_is_refused_and_nothing_changes(query: str, database: Path, tmp_path: Path) -> None:
    before = database.read_bytes(), sorted(tmp_path.iterdir())
    spec = f"sql:sqlite:///{database}::{query.format(folder=tmp_path)}"
    with pytest.raises(ConfigError, match=r"data\.train: a query must be one SELECT"):
        locate(spec, "data.train", cache=tmp_path / "cache")
    assert (database.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_lint_refuses_it_too(database: Path, bert: Path) -> None:
    config = {"model": str(bert), "data": {"train": f"sql:sqlite:///{database}::DROP TABLE victim"}}
    with pytest.raises(ConfigError, match=r"data\.train: .* DROP is not allowed"):
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

    with read_only_engine(make_url(f"sqlite:///{database}")).connect() as connection:
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
