"""A Prefect API server of our own, as a child process: `python -m tasks.runtime.prefect_api.api_server …`.

Prefect's ephemeral server costs every run 10 to 20 s, can time out under load and outlives a killed parent. This one
starts on a database migrated once per Prefect version, serves a socket its parent already listens on (so no port is
raced for and early requests wait in the backlog), and dies with its parent, however that dies.
"""

import argparse
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}
SHORT_LIVED = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_UI_ENABLED": "false",
}


LASTING = {
    # In memory, a restart would leave the places of running runs taken for ever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


# On SQLite. A request may hold one connection and ask for another: with Prefect's 15, a burst of them waits for itself
# until it times out, and the server says nothing to anybody for half a minute.
MANY_CONNECTIONS = {
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "50",
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "50",
}


DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"  # a persistent server heeds it: Postgres, where many runs come at once


def template() -> Path:
    """An empty, migrated database of the installed Prefect, kept with the environment as compiled code is."""
    return Path(sys.prefix) / "share" / "finetune-flow" / f"prefect-{version('prefect')}.db"


def main() -> None:
    """Serve until the parent is gone (or, with `--lasting`, until told to stop)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--parent", type=int)
    options = parser.parse_args()
    if options.parent is not None:
        threading.Thread(target=_die_with, args=(options.parent, options.home), daemon=True).start()
    database = options.home / "prefect.db"
    options.home.mkdir(parents=True, exist_ok=True)
    elsewhere = os.environ.get(DATABASE) if options.parent is None else None
    migrated = bool(elsewhere) or database.exists() or _start_from_template(database)
    os.environ.update(
        QUIET | (SHORT_LIVED if options.parent is not None else LASTING),
        PREFECT_HOME=str(options.home),
        PREFECT_API_DATABASE_MIGRATE_ON_START="false" if migrated and options.parent is not None else "true",
    )
    if not elsewhere:
        os.environ.update(MANY_CONNECTIONS | {name: os.environ[name] for name in MANY_CONNECTIONS.keys() & os.environ})
    os.environ[DATABASE] = elsewhere or f"sqlite+aiosqlite:///{database}"
    os.environ.pop("PREFECT_API_URL", None)
    if not migrated:
        _migrate(database)
    import uvicorn
    from prefect.server.api.server import create_app

    _write_in_turn()

    listening = socket.socket(fileno=options.socket)
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="error", timeout_keep_alive=5))
    server.run(sockets=[listening])


def _write_in_turn() -> None:
    """Let a transaction on SQLite ask for the right to write when it begins, and so wait its turn.

    Prefect lets most of them ask when they first write: where another wrote since they first read, they fail at once
    ("database is locked"), and are tried again and again.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction

    @asynccontextmanager
    async def in_turn(self: Any, session: Any, with_for_update: bool = True) -> AsyncIterator[Any]:
        async with begin(self, session, with_for_update=True) as transaction:
            yield transaction

    AioSqliteConfiguration.begin_transaction = in_turn  # type: ignore[method-assign]


def _die_with(parent: int, home: Path) -> None:
    """Poll, because the kernel's parent-death signal follows the thread that started us, not its process."""
    while os.getppid() == parent:
        time.sleep(0.2)
    shutil.rmtree(home, ignore_errors=True)
    os._exit(0)


def _start_from_template(database: Path) -> bool:
    try:
        shutil.copyfile(template(), database)
    except OSError:
        return False
    return True


def _migrate(database: Path) -> None:
    import asyncio

    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())
    place = template()
    temporary = place.with_suffix(f".{os.getpid()}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(database, temporary)
        temporary.replace(place)
    except OSError:
        temporary.unlink(missing_ok=True)  # an environment that cannot be written to migrates every time


if __name__ == "__main__":
    main()
