"""`finetune serve`: deployments, a run form, schedules and a worker, with one command on one machine."""

import argparse
import sys
from pathlib import Path

from flows.verbs.common import Verbs


def add(verbs: Verbs) -> None:
    """Add this verb to the command."""
    what = "register deployments in Prefect's UI and execute their runs, until Ctrl-C"
    sub = verbs.add_parser("serve", help=what, description=what)
    sub.add_argument("--port", type=int, default=4200, help="of a local server started here (default %(default)s)")
    sub.add_argument("--limit", type=int, default=1, help="concurrent runs on this machine (default %(default)s)")
    sub.add_argument("--deployments", type=Path, help="a folder with your own prefect.yaml and automations.yaml")
    sub.set_defaults(verb=_serve, goes_on=True)


def _serve(options: argparse.Namespace) -> int:
    from tasks.runtime.prefect_api import serving, worker

    url = serving.address(options.port)
    for name in serving.register(url, options.deployments or serving.DEPLOYMENTS):
        print(f"  {name}", file=sys.stderr)
    print(f"open {url.removesuffix('/api')}/deployments, choose one, press Run; Ctrl-C here stops the worker, "
          "`finetune server stop` a local server", file=sys.stderr)  # fmt: skip
    return worker.work(url, options.limit)
