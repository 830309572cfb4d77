"""`finetune run`, `plan`, `lint`: run a config, estimate its cost (of its sweep too), or check its data."""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from flows.verbs.common import (
    Verbs,
    add_config_arguments,
    add_overwrite_argument,
    collecting_warnings,
    load_config,
    on_server_ready,
    print_stage,
)

if TYPE_CHECKING:
    from tasks.config import LoadedChain, LoadedSweep


def add(verbs: Verbs) -> None:
    """Add these verbs to the command."""
    for name, verb, what in (
        ("run", _run, "run a config; results in the store are reused"),
        ("plan", _plan, "show what a run would do, reuse from the store, and cost"),
        ("lint", _lint, "check a config's data"),
    ):
        sub = verbs.add_parser(name, help=what, description=what)
        add_config_arguments(sub)
        if verb is _lint:
            sub.add_argument("--rejected", type=Path, help="file for bad rows: JSON lines of file, line, why, row")
        else:
            add_overwrite_argument(sub)
        sub.set_defaults(verb=verb, goes_on=verb is _run)


def _run(options: argparse.Namespace) -> int:
    loaded = load_config(options)
    from flows.api import run

    done = run(loaded, listener=print_stage, on_server=on_server_ready)
    if options.json:
        stages = [entry.__dict__ for entry in done.stages]
        path = str(done.path) if done.path else None
        found = {"stages": stages, "metrics": done.metrics, "classes": done.classes, "model_path": path}
        print(json.dumps(found | {"run": done.run, "warnings": done.warnings}))
    else:
        from flows.terminal.run import show_run

        show_run(done)
    return 0


def _plan(options: argparse.Namespace) -> int:
    from tasks.config import LoadedChain, LoadedSweep, load_either

    loaded = load_config(options, load_either)
    if isinstance(loaded, LoadedSweep):
        return _plan_sweep(options, loaded)
    if isinstance(loaded, LoadedChain):
        return plan_steps(options, loaded)
    from flows.api import plan
    from tasks.execution.advice import advice
    from tasks.execution.after_training import after_training
    from tasks.execution.estimate import estimate
    from tasks.execution.sample import rendered_sample

    with collecting_warnings() as warnings:
        resolved, context = plan(loaded)
        costs = estimate(resolved, context)
        sample = rendered_sample(resolved, context)
    notes = advice(resolved, context, costs)
    if options.json:
        found = costs.__dict__ if costs else {}
        stages = [entry.__dict__ for entry in context.entries]
        messages = {"overwrites": context.overwrites, "warnings": warnings, "advice": notes}
        messages |= {"after_training": after_training(resolved)}
        messages |= {"rendered": sample.__dict__} if sample else {}
        print(json.dumps({"stages": stages, **found, **messages}))
    else:
        from flows.terminal.rendered import show_rendered
        from flows.terminal.run import show_plan

        show_plan(resolved, context, costs)
        if sample:
            show_rendered(sample)
        for note in notes:
            print(f"advice: {note}")
    return 0


def _plan_sweep(options: argparse.Namespace, loaded: "LoadedSweep") -> int:
    from flows.sweep.plan import plan_sweep

    costs = plan_sweep(loaded)
    if options.json:
        print(json.dumps(costs.__dict__))
    else:
        from flows.terminal.grid import show_sweep_plan

        show_sweep_plan(costs)
    return 0


def plan_steps(options: argparse.Namespace, loaded: "LoadedChain") -> int:
    """Print the plan of a chain."""
    from flows.chain.plan import plan_chain

    with collecting_warnings() as warnings:
        plans = plan_chain(loaded)
    if options.json:
        print(json.dumps({"steps": [each.summary() for each in plans], "warnings": warnings}))
    else:
        from flows.terminal.chain import show_chain_plan

        show_chain_plan(plans)
    return 0


def _lint(options: argparse.Namespace) -> int:
    loaded = load_config(options)
    from flows.api import lint

    logging.getLogger("finetune").setLevel(logging.ERROR)  # warnings are shown together at the end
    found = lint(loaded, options.rejected)
    if options.json:
        print(json.dumps(found))
    else:
        from flows.terminal.run import show_lint

        show_lint(found)
    return 0
