"""`finetune schema`, `gc`, `verify`, `server`: maintenance."""

import argparse
import json
import shutil

from flows.verbs.common import Verbs, add_store_argument, existing_store


def add(verbs: Verbs) -> None:
    """Add these verbs to the command."""
    sub = verbs.add_parser("schema", help="print the config's JSON Schema")
    sub.set_defaults(verb=_schema)
    sub = verbs.add_parser("gc", help="list unused results; --yes deletes them")
    add_store_argument(sub)
    sub.add_argument("--keep-runs", type=int, default=20,
                     help="newest runs to keep, and sweeps, each with its best run (default %(default)s)")  # fmt: skip
    sub.add_argument("--grace-hours", type=float, default=24.0, help="keep everything younger (default %(default)s)")
    sub.add_argument("--yes", action="store_true", help="delete them")
    sub.set_defaults(verb=_gc)
    sub = verbs.add_parser("verify", help="check every stored file against its hash")
    add_store_argument(sub)
    sub.set_defaults(verb=_verify)
    sub = verbs.add_parser("server", help="a persistent local Prefect server with its UI")
    sub.add_argument("action", choices=("start", "status", "stop"))
    sub.add_argument("--port", type=int, default=4200)
    sub.set_defaults(verb=_server)


def _schema(options: argparse.Namespace) -> int:
    from tasks.objectives.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _gc(options: argparse.Namespace) -> int:
    from tasks.artifacts.upkeep.gc import collect
    from tasks.execution.live_folders import unused

    store = existing_store(options)
    live = unused(store, options.keep_runs, options.grace_hours)
    size = sum(path.stat().st_size for folder in live for path in folder.rglob("*") if path.is_file())
    found = collect(store, options.keep_runs, options.grace_hours, sweep=options.yes)
    if options.yes:
        for folder in live:
            shutil.rmtree(folder, ignore_errors=True)
    done = "deleted" if options.yes else "are unused; --yes deletes them"
    for name in found.damaged:
        print(f"{name} is damaged: the results of that run are kept only if another run uses them")
    print(f"{len(found.names) + len(live)} objects, {(found.size + size) / 1e6:.1f} MB {done}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from tasks.artifacts.upkeep.scrub import scrub

    damage = list(scrub(existing_store(options)))
    for each in damage:
        print(f"{each.kind}: {each.name} (needed by {each.needed_by})")
    print("all stored files match their hashes" if not damage else f"{len(damage)} damaged; a run that needs "
          "one of them rebuilds it")  # fmt: skip
    return 5 if damage else 0


def _server(options: argparse.Namespace) -> int:
    from tasks.runtime.prefect_api import server

    if options.action == "start":
        state = server.start(options.port)
        print(f"running at {str(state['url']).removesuffix('/api')} (pid {state['pid']}); runs are now shown there")
    elif options.action == "stop":
        print("stopped" if server.stop() else "no server was running")
    else:
        state = server.running()
        print(f"running at {state['url']} (pid {state['pid']})" if state else "not running")
        return 0 if state else 1
    return 0
