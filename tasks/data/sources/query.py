"""Restricts database queries to one SELECT, on a read-only connection if the database supports it.

The text of a query is checked first, by a lexer and a few rules, which refuse mistakes and plain attempts to write.
That proves nothing: a database may have its own functions that write. What protects its rows is the read-only
transaction that `reading` sets (PostgreSQL, MySQL, MariaDB) or the read-only file (SQLite), and, for any database, an
account without write permission.
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
# Dialects by lexical rules: `#` begins a comment, `$tag$` a string, `[` or a backtick a name; in the plain ones a
# backslash is always an ordinary character.
HASH, DOLLAR = ("mysql", "mariadb", "bigquery"), ("postgresql", "redshift", "cockroachdb", "duckdb", "snowflake")
BRACKET, NO_TICK, PLAIN = ("sqlite", "mssql"), ("postgresql", "mssql", "oracle"), ("sqlite", "mssql", "oracle")
WRITING = ("insert", "update", "delete", "merge")
# T-SQL needs no semicolon between statements, and all of these are reserved words there.
TSQL = (*WRITING, "alter", "backup", "commit", "create", "drop", "exec", "execute", "grant", "kill", "restore",
        "revoke", "shutdown", "truncate", "begin", "use", "waitfor", "dbcc", "deny", "reconfigure", "bulk")  # fmt: skip
# Functions with side effects that can be called in a SELECT.
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
    """Return `query` without trailing semicolons and comments, if it is one statement that appears to only read.

    Args:
        dialect: SQLAlchemy's name of the database's dialect, which determines quotes and comments.

    Raises:
        ConfigError: it writes or calls a function that does, is not SELECT, WITH or VALUES, is several statements, or
            its text is ambiguous.
    """
    tokens = list(_tokens(query, field, dialect))
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    begins = next((token for token in tokens if token.text != "("), None)
    if begins is None or begins.kind != "word" or begins.text.lower() not in ("select", "with", "values"):
        raise _refused(field, f"{begins.text.upper() if begins else 'an empty query'} is not allowed")
    if any(token.text == ";" for token in tokens):
        raise _refused(field, "several statements are not allowed")
    if what := _writes(tokens, dialect):
        raise _refused(field, f"{what} is not allowed")
    return query[: tokens[-1].end].strip()


def _refused(field: str, why: str) -> ConfigError:
    return ConfigError(f"{field}: a query must be one SELECT that only reads; {why}")


def _tokens(query: str, field: str, dialect: str) -> Iterator[_Token]:
    """Yield the query's tokens without blanks and comments."""
    pattern = _lexer(dialect)
    at = 0
    while at < len(query):
        found = pattern.match(query, at)
        assert found is not None and found.lastgroup is not None  # the last alternative matches any character
        kind, text, at = found.lastgroup, found[0], found.end()
        if kind == "open":
            raise _refused(field, f"{text!r} at character {found.start() + 1} is never closed")
        if kind == "block" and (text.startswith(("/*!", "/*M!")) or "/*" in text[2:]):
            raise _refused(field, "executable or nested comments (/*!, /* /*) are not allowed")
        if kind == "line" and query[at : at + 1] == "\r" != query[at : at + 2] != "\r\n":
            raise _refused(field, "a comment that ends in a lone carriage return is ambiguous")
        if kind == "text" and dialect not in PLAIN and any(len(run) % 2 for run in BEFORE_QUOTE.findall(text)):
            raise _refused(field, r"a backslash before a quote (\') is ambiguous; write the quote twice ('')")
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
    """Return the part of a query that writes: `WITH x AS (DELETE …)`, `WITH … INSERT …`, `SELECT … INTO`, `FOR UPDATE`,
    a call of `EFFECTS`; else None. A word after a dot, or without a table after it, is a column's name."""
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


def escaped_text(query: str) -> TextClause:
    """Return a query for SQLAlchemy with colons escaped: `:name` would be a parameter, even within a string."""
    from sqlalchemy import text

    # The two patterns are SQLAlchemy's: a backslash before `:name` escapes it and is then removed.
    return text(re.sub(r"(?<![:\w\\]):(?=\w+(?![:\w]))|\\(?=:\w*(?![:\w]))", r"\\\g<0>", query))


def read_only_engine(url: URL) -> Engine:
    """Return an engine; for SQLite its connections are read-only."""
    from sqlalchemy import create_engine

    if url.get_backend_name() != "sqlite" or url.get_driver_name() != "pysqlite" or not url.database:
        return create_engine(url)
    import sqlite3

    place = f"file:{quote(str(Path(url.database).absolute()))}?mode=ro"
    return create_engine(url, creator=lambda: sqlite3.connect(place, uri=True))


def reading(connection: Connection) -> Connection:
    """Make a connection read-only, if the server supports it; everything is rolled back in any case."""
    options: dict[str, Any] = {"stream_results": True}
    if connection.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    elif statement := READ_ONLY.get(connection.dialect.name):
        connection.exec_driver_sql(statement)
        connection.rollback()
    return connection.execution_options(**options)
