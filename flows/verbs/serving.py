"""`finetune serve`: deployments, a run form, schedules and a worker, by one command on one machine."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add this verb to the command."""
    what = "offer deployments in Prefect's UI and carry out their runs, until Ctrl-C"
    sub = verbs.add_parser("serve", help=what, description=what)
    sub.add_argument("--port", type=int, default=4200, help="of the local server, if one must start (%(default)s)")
    sub.add_argument("--limit", type=int, default=1, help="runs at a time on this machine (default %(default)s)")
    sub.add_argument("--deployments", type=Path, help="a folder with prefect.yaml and automations.yaml of your own")
    sub.set_defaults(verb=_serve, goes_on=True)


def _serve(options: argparse.Namespace) -> int:
    from tasks.runtime.prefect_api import serving, worker

    url = serving.address(options.port)
    for name in serving.put_up(url, options.deployments or serving.DEPLOYMENTS):
        print(f"  {name}", file=sys.stderr)
    print(f"open {url.removesuffix('/api')}/deployments, choose one, press Run; Ctrl-C here ends the worker, and "
          "`finetune server stop` a local server", file=sys.stderr)  # fmt: skip
    return worker.work(url, options.limit)
