"""`finetune init`: write a first config for data."""

import argparse
import json
import os
import sys
from pathlib import Path

from flows.verbs.common import Verbs


def add(verbs: Verbs) -> None:
    """Add this verb to the command."""
    what = "write a commented config for data, or for a config of axolotl or LLaMA-Factory"
    sub = verbs.add_parser("init", help=what, description=what)
    sub.add_argument("source", nargs="?", metavar="DATA", help="rows: a file, a folder, a glob, a URL, as data.train")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="value to use, such as data.columns.text=body")
    sub.add_argument("--from", dest="peer", metavar="FILE", help="translate this config of axolotl or LLaMA-Factory")
    sub.add_argument("--task", help="the task; default: guessed from columns and values")
    sub.add_argument("--model", help="the base model, as model.name; default: a small one for the task")
    sub.add_argument("-o", "--output", type=Path, help="the YAML file to write; default: stdout")
    sub.add_argument("--force", action="store_true", help="replace the file if it exists")
    sub.set_defaults(verb=_init)


def _init(options: argparse.Namespace) -> int:
    from tasks.config import ConfigError

    output: Path | None = options.output.expanduser() if options.output else None
    if output is not None:
        if not output.absolute().parent.is_dir():
            raise ConfigError(f"--output: the folder {str(output.parent)!r} does not exist")
        if output.is_dir():
            raise ConfigError(f"--output: {str(output)!r} is a folder; give a file in it")
        if os.path.lexists(output) and not options.force:
            raise ConfigError(f"--output: {str(output)!r} exists; --force replaces it")
    named = {"task": options.task, "model.name": options.model}
    overrides = [f"{name}={json.dumps(value)}" for name, value in named.items() if value is not None]
    text, notes = _draft(options, [*overrides, *options.overrides], output)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if output is None:
        print(text, end="")
        return 0
    with output.open("w" if options.force else "x", encoding="utf-8") as file:
        file.write(text)
    print(f"{output} written; next: finetune lint {output}, plan, run", file=sys.stderr)
    return 0


def _draft(options: argparse.Namespace, overrides: list[str], output: Path | None) -> tuple[str, list[str]]:
    from tasks.config import ConfigError

    if options.peer is None:
        from flows.init.draft import draft

        if options.source is None:
            raise ConfigError("DATA: missing; give the rows, or --from FILE to translate a config of another tool")
        return draft(options.source, overrides, output)
    from flows.init.peers.draft import translate

    if options.source is not None:  # the first override is in its place
        if "=" not in options.source:
            raise ConfigError(f"{options.source!r} given beside --from, which names the rows; to use others add "
                              f"data.train={options.source}")  # fmt: skip
        overrides.insert(0, options.source)
    if output is not None and output.absolute() == Path(options.peer).absolute():
        raise ConfigError(f"--output: {str(output)!r} is the config to translate; choose another name")
    return translate(options.peer, overrides)
