"""`finetune runs`, `show`, `compare`: the store's records of runs and sweeps, without a Prefect server."""

import argparse
import json
from typing import Any

from flows.verbs.common import Verbs, add_store_argument, existing_store

WHICH = "its name or a prefix of it; or its config's name or model folder (the newest run)"


def add(verbs: Verbs) -> None:
    """Add these verbs to the command."""
    sub = verbs.add_parser("runs", help="list the runs and the sweeps of the store, newest first")
    sub.add_argument("--limit", type=int, default=20, help="how many runs and how many sweeps (default %(default)s)")
    _takes(sub, _runs)
    sub = verbs.add_parser("show", help="show the report of a run, or the cells of a sweep")
    sub.add_argument("run", metavar="RUN", help=f"a run or a sweep: {WHICH}")
    _takes(sub, _show)
    sub = verbs.add_parser("compare", help="show what differs between two runs")
    sub.add_argument("run", metavar="RUN", help=WHICH)
    sub.add_argument("other", metavar="RUN", help="the other one, likewise")
    _takes(sub, _compare)


def _takes(sub: argparse.ArgumentParser, verb: object) -> None:
    add_store_argument(sub)
    sub.add_argument("--json", action="store_true", help="end stdout with one JSON object")
    sub.set_defaults(verb=verb)


def _runs(options: argparse.Namespace) -> int:
    from tasks.runtime.runs import run_line, runs
    from tasks.runtime.sweeps import sweep_line, sweeps

    store, limit = existing_store(options), max(options.limit, 0)
    found = [run_line(store, record) for record in runs(store)[:limit]]
    swept = [sweep_line(record) for record in sweeps(store)[:limit]]
    if options.json:
        print(json.dumps({"runs": found, "sweeps": swept}))
    else:
        from flows.terminal.runs import show_runs, show_sweeps

        show_runs(found)
        show_sweeps(swept)
    return 0


def _show(options: argparse.Namespace) -> int:
    from tasks.results.report import gather
    from tasks.runtime.sweeps import find

    store = existing_store(options)
    record = find(store, options.run)
    if "grid" in record:
        return _show_sweep(record, options.json)
    report = gather(store, record)
    if options.json:
        results = {name: getattr(report, name) for name in ("metrics", "intervals", "slices", "data", "usage")}
        print(json.dumps({**record, **results}))
    else:
        from flows.terminal.runs import show_report

        show_report(report)
    return 0


def _show_sweep(record: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print(json.dumps(record))
    else:
        from flows.terminal.grid import show_sweep

        show_sweep(record)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from tasks.results.compare import compare
    from tasks.runtime.sweeps import find_one_run

    store = existing_store(options)
    one, other = find_one_run(store, options.run), find_one_run(store, options.other)
    found = compare(store, one, other)
    if options.json:
        print(json.dumps({"runs": [one["run"], other["run"]], **found}))
    else:
        from flows.terminal.runs import show_comparison

        show_comparison(one, other, found)
    return 0
