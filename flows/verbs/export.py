"""`finetune export`: a trained model as a folder for use elsewhere, or on the Hugging Face hub."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.verbs.common import Verbs, add_store_argument, existing_store

if TYPE_CHECKING:
    from tasks.artifacts.store import Store
    from tasks.config import RunConfig

TRUST = "model.trust_remote_code"


def add(verbs: Verbs) -> None:
    """Add this verb to the command."""
    what = "export a trained model: merged, in another precision, as ONNX, to the Hugging Face hub"
    sub = verbs.add_parser("export", help=what, description=what)
    sub.add_argument("run", metavar="RUN", help="a folder written by `finetune run`, or a run: its name or a prefix of "
                     "it, or its config's name (the newest run)")  # fmt: skip
    sub.add_argument("overrides", nargs="*", metavar="key=value", help=f"only {TRUST}=true")
    sub.add_argument("-o", "--output", metavar="DIR", help="the folder to write; it must not exist, or be empty")
    sub.add_argument("--merge", action="store_true", help="merge an adapter into its base")
    sub.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="precision of the written weights")
    sub.add_argument("--onnx", action="store_true", help="write model.onnx instead of weights (an adapter is merged)")
    sub.add_argument("--push", metavar="NAME", help="upload to this repository of the hub; the token is HF_TOKEN's")
    sub.add_argument("--private", action="store_true", help="with --push: make a new repository private")
    add_store_argument(sub)
    sub.add_argument("--json", action="store_true", help="end stdout with one JSON object")
    sub.set_defaults(verb=_export)


def _export(options: argparse.Namespace) -> int:
    from tasks.config import ConfigError

    if options.output is None and options.push is None:
        raise ConfigError("export: give -o DIR, --push NAME, or both")
    config = config_of(options.overrides, "an export")
    if options.private and options.push is None:
        raise ConfigError("--private: has no effect without --push")
    output = Path(options.output).expanduser() if options.output else None
    notes: list[str] = []

    def info(line: str) -> None:
        notes.append(line)
        print(f"note: {line}", file=sys.stderr)

    from tasks.export.run import Wanted, export

    wanted = Wanted(options.merge, options.dtype, options.onnx, output, options.push, options.private)
    done = export(options.run, wanted, store_of(options), config, info)
    for place in filter(None, (done.output, done.url)):
        print(f"exported to {place}", file=sys.stderr)
    if options.json:
        print(json.dumps({"output": str(done.output) if done.output else None, "url": done.url,
                          "difference": done.difference, "notes": notes}))  # fmt: skip
    return 0


def config_of(overrides: list[str], what: str) -> "RunConfig":
    """Return the config for `what`, which opens a saved model.

    Raises:
        ConfigError: an override without effect on it.
    """
    from tasks.config import ConfigError, load

    if unknown := next((each for each in overrides if not each.startswith(f"{TRUST}=")), None):
        raise ConfigError(f"{unknown.partition('=')[0]}: has no effect on {what}; valid is {TRUST}")
    return load({"model": {"name": "saved"}, "data": {"train": "saved"}}, overrides).config


def store_of(options: argparse.Namespace) -> "Store | None":
    """Return the store, which a model folder can do without."""
    from tasks.config import ConfigError

    try:
        return existing_store(options)
    except ConfigError:
        if options.store:
            raise
        return None
