"""`finetune run`, `plan`, `lint`: a config is carried out, costed (its sweep too), or its data checked."""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.verbs.common import greet, load_config, takes_config, tell

if TYPE_CHECKING:
    from tasks.config import LoadedSweep


def add(verbs: Any) -> None:
    """Add these verbs to the command."""
    for name, verb, what in (
        ("run", _run, "run a config; what is in the store already is not done again"),
        ("plan", _plan, "say what a run would do, find in the store, and cost"),
        ("lint", _lint, "check a config's data"),
    ):
        sub = verbs.add_parser(name, help=what, description=what)
        takes_config(sub)
        if verb is _lint:
            sub.add_argument("--rejected", type=Path, help="where bad rows go: JSON lines of file, line, why, row")
        sub.set_defaults(verb=verb)


def _run(options: argparse.Namespace) -> int:
    loaded = load_config(options)
    from flows.door import run

    done = run(loaded, listener=None if options.json else tell, on_server=greet)
    if options.json:
        stages = [entry.__dict__ for entry in done.stages]
        path = str(done.path) if done.path else None
        print(json.dumps({"stages": stages, "metrics": done.metrics, "model_path": path, "run": done.run}))
    else:
        from flows.show import show_run

        show_run(done)
    return 0


def _plan(options: argparse.Namespace) -> int:
    from tasks.config import LoadedSweep, load_either

    loaded = load_config(options, load_either)
    if isinstance(loaded, LoadedSweep):
        return _plan_sweep(options, loaded)
    from flows.door import plan
    from tasks.runtime.estimate import estimate

    resolved, context = plan(loaded)
    costs = estimate(resolved, context)
    if options.json:
        found = costs.__dict__ if costs else {}
        print(json.dumps({"stages": [entry.__dict__ for entry in context.entries], **found}))
    else:
        from flows.show import show_plan

        show_plan(resolved, context, costs)
    return 0


def _plan_sweep(options: argparse.Namespace, loaded: "LoadedSweep") -> int:
    from flows.sweep_plan import plan_sweep

    costs = plan_sweep(loaded)
    if options.json:
        print(json.dumps(costs.__dict__))
    else:
        from flows.show_grid import show_sweep_plan

        show_sweep_plan(costs)
    return 0


def _lint(options: argparse.Namespace) -> int:
    loaded = load_config(options)
    from flows.door import lint

    logging.getLogger("finetune").setLevel(logging.ERROR)  # warnings are shown together at the end
    found = lint(loaded, options.rejected)
    if options.json:
        print(json.dumps(found))
    else:
        from flows.show import show_lint

        show_lint(found)
    return 0
