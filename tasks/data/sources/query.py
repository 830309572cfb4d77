"""What may be asked of a database: one SELECT, on a connection that can only read where the database knows of such.

The text of a query is checked first, by a lexer and a few rules, which turn away mistakes and plain attempts to write.
That is no proof: a database may have functions of its own that write. What keeps its rows safe is the read-only
transaction that `reading` sets (PostgreSQL, MySQL, MariaDB) or the read-only file (SQLite), and, everywhere, an account
that has no right to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from tasks.config.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, TextClause

READ_ONLY = {"mysql": "SET SESSION TRANSACTION READ ONLY", "mariadb": "SET SESSION TRANSACTION READ ONLY"}
# Databases by how they read a text: `#` begins a comment, `$tag$` a text, `[` or a backtick a name; in the plain ones a
# backslash is a character like any other, whatever their settings.
HASH, DOLLAR = ("mysql", "mariadb", "bigquery"), ("postgresql", "redshift", "cockroachdb", "duckdb", "snowflake")
BRACKET, NO_TICK, PLAIN = ("sqlite", "mssql"), ("postgresql", "mssql", "oracle"), ("sqlite", "mssql", "oracle")
WRITING = ("insert", "update", "delete", "merge")
# T-SQL needs no semicolon between statements, and all of these are reserved words there.
TSQL = (*WRITING, "alter", "backup", "commit", "create", "drop", "exec", "execute", "grant", "kill", "restore",
        "revoke", "shutdown", "truncate", "begin", "use", "waitfor", "dbcc", "deny", "reconfigure", "bulk")  # fmt: skip
# Functions that change something, though a SELECT calls them.
EFFECTS = re.compile(
    r"nextval|setval|set_config|dblink\w*|lowrite|lo_(creat|create|import|export|unlink|put|from_bytea|truncate\w*|open)"
    r"|pg_(terminate|cancel)_backend|pg_(try_)?advisory_\w+|pg_(reload_conf|rotate_logfile\w*|switch_wal|promote|notify)"
    r"|pg_(create|drop|copy)_\w+|pg_(start|stop)_backup|pg_backup_(start|stop)|pg_stat_reset\w*|pg_wal_replay_\w+"
    r"|pg_(logical|replication)_\w+|pg_import_system_collations|pg_file_\w+|pg_export_snapshot"
    r"|query_to_xml\w*|get_lock|release_lock|release_all_locks|sys_exec|sys_eval|load_extension|writefile"
    r"|openquery|openrowset|opendatasource",
    re.IGNORECASE,
)


BEFORE_QUOTE = re.compile(r"(\\+)['\"]")


class _Token(NamedTuple):
    kind: str  # text, name (quoted), word, number or mark
    text: str
    end: int


def one_select(query: str, field: str, dialect: str) -> str:
    """`query` without what follows its last word, if it is one statement that only reads, as far as its text tells.

    Args:
        dialect: SQLAlchemy's name of the database's kind, by which quotes and comments are told apart.

    Raises:
        ConfigError: it writes or calls a function that does, is none of SELECT, WITH and VALUES, is several statements,
            or cannot be read in one way only.
    """
    tokens = list(_tokens(query, field, dialect))
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    begins = next((token for token in tokens if token.text != "("), None)
    if begins is None or begins.kind != "word" or begins.text.lower() not in ("select", "with", "values"):
        raise _refused(field, f"{begins.text.upper() if begins else 'nothing'} is not run")
    if any(token.text == ";" for token in tokens):
        raise _refused(field, "several statements are not run")
    if what := _writes(tokens, dialect):
        raise _refused(field, f"{what} is not run")
    return query[: tokens[-1].end].strip()


def _refused(field: str, why: str) -> ConfigError:
    return ConfigError(f"{field}: a query is one SELECT, which reads and changes nothing; {why}")


def _tokens(query: str, field: str, dialect: str) -> Iterator[_Token]:
    """The query's words without blanks and comments."""
    pattern = _lexer(dialect)
    at = 0
    while at < len(query):
        found = pattern.match(query, at)
        assert found is not None and found.lastgroup is not None  # the last alternative is any character
        kind, text, at = found.lastgroup, found[0], found.end()
        if kind == "open":
            raise _refused(field, f"{text!r} at character {found.start() + 1} is never closed")
        if kind == "block" and (text.startswith(("/*!", "/*M!")) or "/*" in text[2:]):
            raise _refused(field, "a comment that some databases run, or one within another (/*!, /* /*), is not run")
        if kind == "line" and query[at : at + 1] == "\r" != query[at : at + 2] != "\r\n":
            raise _refused(field, "a comment that ends in a lone carriage return is read in two ways")
        if kind == "text" and dialect not in PLAIN and any(len(run) % 2 for run in BEFORE_QUOTE.findall(text)):
            raise _refused(field, r"a backslash before a quote (\') is read in two ways; write the quote twice ('')")
        if kind not in ("blank", "block", "line"):
            yield _Token(kind, text, at)


def _lexer(dialect: str) -> re.Pattern[str]:
    wide = r"\w\x80-\U0010ffff"
    line = r"--(?=[\s\x00-\x20]|$)" if dialect in ("mysql", "mariadb") else "--"
    names = [r"`(?:[^`]|``)*`"] * (dialect not in NO_TICK) + [r"\[[^\]]*\]"] * (dialect in BRACKET)
    dollar = rf"(?<![{wide}$])\$(?P<tag>(?:(?!\d)[{wide}]+)?)\$"
    kinds = {
        "blank": r"\s+",
        "line": rf"(?:{line}{'|#' * (dialect in HASH)})[^\r\n]*",
        "block": r"/\*.*?\*/",
        "text": r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"" + rf"|{dollar}.*?\$(?P=tag)\$" * (dialect in DOLLAR),
        "name": "|".join(names) or r"(?!)",
        "open": r"['\"]|/\*"
        + "|`" * (dialect not in NO_TICK)
        + rf"|{dollar.replace('P<tag>', ':')}" * (dialect in DOLLAR),
        "number": r"\d+\.?\d*",
        "word": rf"[^\W\d][{wide}$]*",
        "mark": ".",
    }
    return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()), re.DOTALL)


def _writes(tokens: list[_Token], dialect: str) -> str | None:
    """What in a statement that begins as a SELECT writes: `WITH x AS (DELETE …)`, `WITH … INSERT …`, `SELECT … INTO`,
    `FOR UPDATE`, a function of `EFFECTS`. A word behind a dot is a column's name, as is one that no table follows."""
    nothing = _Token("mark", "", 0)
    for before, token, after in zip([nothing, *tokens], tokens, [*tokens[1:], nothing], strict=False):
        name = token.text.strip('"`[]')
        if after.text == "(" and token.kind in ("word", "name", "text") and EFFECTS.fullmatch(name):
            return f"{name}()"
        word, follows = token.text.lower(), after.kind in ("word", "name", "text")
        if token.kind != "word" or before.text == ".":
            continue
        if word == "into" or (dialect == "mssql" and word in TSQL):
            return word.upper()
        if word in WRITING and before.text.lower() in ("for", "key") and word == "update":
            return "FOR UPDATE"
        if (
            word in WRITING
            and before.text in ("(", ")")
            and follows
            and (word == "delete" or after.text.lower() != "from")
        ):
            return word.upper()
        if word == "next" and after.text.lower() == "value":
            return "NEXT VALUE"
    return None


def as_written(query: str) -> TextClause:
    """A query for SQLAlchemy in which a colon is a colon: `:name`, in a text too, would be a parameter for it."""
    from sqlalchemy import text

    # By SQLAlchemy's own two patterns: a backslash keeps `:name` from being a parameter and is then taken away.
    return text(re.sub(r"(?<![:\w\\]):(?=\w+(?![:\w]))|\\(?=:\w*(?![:\w]))", r"\\\g<0>", query))


def reading_engine(url: URL) -> Engine:
    """An engine whose connections cannot write, if `url` is SQLite's."""
    from sqlalchemy import create_engine

    if url.get_backend_name() != "sqlite" or url.get_driver_name() != "pysqlite" or not url.database:
        return create_engine(url)
    import sqlite3

    place = f"file:{quote(str(Path(url.database).absolute()))}?mode=ro"
    return create_engine(url, creator=lambda: sqlite3.connect(place, uri=True))


def reading(connection: Connection) -> Connection:
    """Have the server refuse what writes, if it knows of such connections; all is rolled back in any case."""
    options: dict[str, Any] = {"stream_results": True}
    if connection.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    elif statement := READ_ONLY.get(connection.dialect.name):
        connection.exec_driver_sql(statement)
        connection.rollback()
    return connection.execution_options(**options)
