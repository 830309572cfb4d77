"""`finetune align`: run a config's `steps`, each from the model that the one before made."""

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

WHAT = "run a config's steps, such as sft and dpo: each trains the model that the one before made"


def add(verbs: Verbs) -> None:
    """Add this verb to the command."""
    sub = verbs.add_parser("align", help=WHAT, description=WHAT)
    add_config_arguments(sub)
    add_overwrite_argument(sub)
    sub.add_argument("--plan", action="store_true", help="show what it would do, as `finetune plan` does")
    sub.set_defaults(verb=_align, goes_on=True)


def _align(options: argparse.Namespace) -> int:
    from tasks.config import load_chain

    loaded = load_config(options, load_chain)
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
