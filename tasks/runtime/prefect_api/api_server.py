"""A Prefect API server of our own, as a child process: `python -m tasks.runtime.prefect_api.api_server …`.

Prefect's ephemeral server costs every run 10 to 20 s, can time out under load and outlives a killed parent. This one
starts on a database migrated once per Prefect version, serves a socket its parent already listens on (so there is no
race for a port, and early requests wait in the backlog), and exits with its parent, however that ends.
"""

import argparse
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

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
    # In memory, a restart would leave the slots of running runs occupied for ever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


# On SQLite. A request may hold one connection and ask for another: with Prefect's 15, a burst of them deadlocks until
# it times out, and the server does not answer for half a minute.
MANY_CONNECTIONS = {
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "50",
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "50",
}


DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"  # used by a persistent server: Postgres, for many concurrent runs


def template() -> Path:
    """Return the path of an empty, migrated database of the installed Prefect, cached in the environment."""
    return Path(sys.prefix) / "share" / "finetune-flow" / f"prefect-{version('prefect')}.db"


def main() -> None:
    """Serve until the parent exits (or, with `--lasting`, until stopped)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--parent", type=int)
    options = parser.parse_args()
    if options.parent is not None:
        threading.Thread(target=_exit_with_parent, args=(options.parent, options.home), daemon=True).start()
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

    _serialize_writes()

    listening = socket.socket(fileno=options.socket)
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="error", timeout_keep_alive=5))
    server.run(sockets=[listening])


def _serialize_writes() -> None:
    """Let transactions on SQLite take the write lock when they begin, and so wait for each other.

    Most of Prefect's take it at their first write: if another wrote since they first read, they fail immediately
    ("database is locked") and are retried again and again.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

    begin = AioSqliteConfiguration.begin_transaction

    @asynccontextmanager
    async def in_turn(
        self: AioSqliteConfiguration, session: AsyncSession, with_for_update: bool = True
    ) -> AsyncGenerator[AsyncSessionTransaction]:
        async with begin(self, session, with_for_update=True) as transaction:
            yield transaction

    AioSqliteConfiguration.begin_transaction = in_turn  # type: ignore[method-assign]


def _exit_with_parent(parent: int, home: Path) -> None:
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
        temporary.unlink(missing_ok=True)  # a read-only environment migrates every time


if __name__ == "__main__":
    main()
