"""`finetune runs`, `show`, `compare`: what the store remembers of runs, without a Prefect server."""

import argparse
import json
from typing import Any

from flows.verbs.common import existing_store, takes_store

WHICH = "what it is called, or the beginning of that; or its config's name, or its model folder (then the newest)"


def add(verbs: Any) -> None:
    """Add these verbs to the command."""
    sub = verbs.add_parser("runs", help="list the runs of the store, newest first")
    sub.add_argument("--limit", type=int, default=20, help="how many (default %(default)s)")
    _takes(sub, _runs)
    sub = verbs.add_parser("show", help="show the report of a run")
    sub.add_argument("run", metavar="RUN", help=WHICH)
    _takes(sub, _show)
    sub = verbs.add_parser("compare", help="show what differs between two runs")
    sub.add_argument("run", metavar="RUN", help=WHICH)
    sub.add_argument("other", metavar="RUN", help="the other one, likewise")
    _takes(sub, _compare)


def _takes(sub: argparse.ArgumentParser, verb: Any) -> None:
    takes_store(sub)
    sub.add_argument("--json", action="store_true", help="end stdout with one JSON object")
    sub.set_defaults(verb=verb)


def _runs(options: argparse.Namespace) -> int:
    from tasks.runtime.runs import line_of, runs

    store = existing_store(options)
    found = [line_of(store, record) for record in runs(store)[: max(options.limit, 0)]]
    if options.json:
        print(json.dumps({"runs": found}))
    else:
        from flows.terminal.runs import show_runs

        show_runs(found)
    return 0


def _show(options: argparse.Namespace) -> int:
    from tasks.results.report import gather
    from tasks.runtime.runs import find_run

    store = existing_store(options)
    record = find_run(store, options.run)
    report = gather(store, record)
    if options.json:
        results = {name: getattr(report, name) for name in ("metrics", "intervals", "slices", "data", "usage")}
        print(json.dumps({**record, **results}))
    else:
        from flows.terminal.runs import show_report

        show_report(report)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from tasks.results.compare import compare
    from tasks.runtime.runs import find_run

    store = existing_store(options)
    one, other = find_run(store, options.run), find_run(store, options.other)
    found = compare(store, one, other)
    if options.json:
        print(json.dumps({"runs": [one["run"], other["run"]], **found}))
    else:
        from flows.terminal.runs import show_comparison

        show_comparison(one, other, found)
    return 0
