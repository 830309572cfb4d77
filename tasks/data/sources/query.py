"""What may be asked of a database: one SELECT, on a connection that can only read where the database knows of such."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tasks.config.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

# What has no say in what a statement does: texts, quoted names, comments.
QUIET = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$""", re.DOTALL
)
BEGINNING = re.compile(r"[\s(]*(select|with|values)\b", re.IGNORECASE)
# Within a statement that begins so, these write: `WITH x AS (DELETE … RETURNING *)`, `SELECT … INTO`.
WRITING = re.compile(r"\b(insert|update|delete|merge|into)\b(?!\s*\()", re.IGNORECASE)
READ_ONLY = {"mysql": "SET SESSION TRANSACTION READ ONLY", "mariadb": "SET SESSION TRANSACTION READ ONLY"}


def one_select(query: str, field: str) -> str:
    """`query`, if it is one statement that only reads.

    Raises:
        ConfigError: it writes, is none of SELECT, WITH and VALUES, or several statements.
    """
    told = QUIET.sub(" '' ", query).strip().rstrip(";").rstrip()
    begins = BEGINNING.match(told)
    writes = WRITING.search(told)
    if begins is None or writes or ";" in told:
        what = writes[0].upper() if begins and writes else "several statements" if begins else _first_word(told)
        raise ConfigError(f"{field}: a query is one SELECT, which reads and changes nothing; {what} is not run")
    return query.strip().rstrip(";")


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


def _first_word(told: str) -> str:
    word = re.search(r"\w+", told)
    return word[0].upper() if word else "nothing"
