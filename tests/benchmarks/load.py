"""How much a server and a worker take: many queued runs in which everything is a hit, and what became of each.

    python -m tests.benchmarks.load [--runs 200] [--at-once 2] [--postgres postgresql+asyncpg://user:password@host/db]

Prints, for SQLite and, if given, for Postgres: the seconds a run costs, and how many ended how (nothing is lost).
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.served import FINAL, Served, parameters, serving
from tests.tiny import make_bert, make_rows


def measure(runs: int, at_once: int, database: str | None) -> dict[str, object]:
    """Queue `runs` runs, wait until each has ended; say what that took and what became of them."""
    with tempfile.TemporaryDirectory(prefix="finetune-load-") as folder:
        place = Path(folder)
        given = parameters(make_bert(place / "bert"), make_rows(place / "rows.csv"), place / "store", 2)
        more = {"PREFECT_API_DATABASE_CONNECTION_URL": database} if database else {}
        with serving(place, at_once=at_once, **more) as served:
            # One at a time, and others cancelled, is what the deployment says; here it is the load that is looked at.
            served.call(f"/deployments/{served.ids['finetune']}", {"concurrency_limit": None}, "PATCH")
            assert served.end(served.create(given)) == "Completed", served.log()
            started = time.monotonic()
            queued = [served.create(given) for _ in range(runs)]
            made = time.monotonic() - started
            ended = _ends(served, queued, 60 + 30 * runs)
            took = time.monotonic() - started
            tasks = served.call("/task_runs/count", {"flow_runs": {"id": {"any_": queued}}})
            noted = served.call("/task_runs/count", {"flow_runs": {"id": {"any_": queued}}, "task_runs": {"state": {"name": {"any_": ["Cached"]}}}})  # noqa: E501  # fmt: skip
            locked = (place / "cache" / "finetune-flow" / "server" / "log").read_text().count("database is locked")
    return {
        "runs": runs, "queued in s": round(made, 1), "s a run": round(took / runs, 2), "ended": dict(ended),
        "task runs": tasks, "of them Cached": noted, "locked": locked,
    }  # fmt: skip


def _ends(served: Served, runs: list[str], seconds: float) -> Counter[str]:
    """How the runs ended; one count each time, for to ask after each of them would be a load of its own."""
    deadline = time.monotonic() + seconds
    ended = {"flow_runs": {"id": {"any_": runs}, "state": {"type": {"any_": sorted(FINAL)}}}}
    while served.call("/flow_runs/count", ended) < len(runs) and time.monotonic() < deadline:
        time.sleep(3)
    return Counter(served.call(f"/flow_runs/{run}")["state"]["name"] for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--postgres", help="SQLAlchemy URL of an empty database")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name, database in (("SQLite", None), ("Postgres", options.postgres)):
        if name == "SQLite" or database:
            print(f"{name}: {json.dumps(measure(options.runs, options.at_once, database))}", flush=True)


if __name__ == "__main__":
    main()
