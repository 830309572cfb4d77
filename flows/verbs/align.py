"""`finetune align` and `finetune continual`: run several trainings, each from the model that the one before made."""

import argparse
import json

from flows.verbs.common import (
    Verbs,
    add_config_arguments,
    add_overwrite_argument,
    load_config,
    on_server_ready,
    print_stage,
)
from flows.verbs.run import plan_steps

WHAT = {
    "align": "run a config's steps, such as sft and dpo: each trains the model that the one before made",
    "continual": "train one task after another, and measure what is forgotten of the earlier ones",
}


def add(verbs: Verbs) -> None:
    """Add these verbs to the command."""
    for name, what in WHAT.items():
        sub = verbs.add_parser(name, help=what, description=what)
        add_config_arguments(sub)
        add_overwrite_argument(sub)
        sub.add_argument("--plan", action="store_true", help="show what it would do, as `finetune plan` does")
        sub.set_defaults(verb=_run, goes_on=True, chain=name)


def _run(options: argparse.Namespace) -> int:
    from tasks.config import ConfigError, load_chain

    loaded = load_config(options, load_chain)
    if (loaded.continual is None) == (options.chain == "continual"):
        other = "align" if loaded.continual is None else "continual"
        raise ConfigError(f"{loaded.steps[0].field}: these are for `finetune {other}`")
    if options.plan:
        return plan_steps(options, loaded)
    from flows.chain.api import run_chain

    done = run_chain(loaded, listener=print_stage, on_server=on_server_ready)
    if options.json:
        print(json.dumps(done.summary()))
    else:
        from flows.terminal.chain import show_chain

        show_chain(done)
    return 0
