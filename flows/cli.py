"""`finetune …`: each verb is one call. With `--json` the last line of stdout is one object; progress goes to stderr.

Nothing heavy is imported before a verb needs it: `--help` and a config error answer at once.
"""

import argparse
import errno
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.config import Loaded
    from tasks.runtime.context import StageEntry

INTERRUPTED = 130
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)  # of the machine, not mistakes of ours


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return its exit code: 0 done, 2 config, 3 data, 4 training, 5 environment, 130 interrupted."""
    options = _options(arguments)
    _console()
    from tasks.config.errors import FinetuneError

    try:
        return options.verb(options)
    except FinetuneError as error:
        print(f"finetune: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("finetune: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # outside the stages, which say more
        if error.errno not in REFUSALS:
            raise
        print(f"finetune: {error.strerror}: {error.filename}", file=sys.stderr)
        return 5


def _run(options: argparse.Namespace) -> int:
    loaded = _load(options)
    from flows.door import run
    from tasks.runtime import launch
    from tasks.runtime.server import Server

    def greet(server: Server) -> None:
        launch.silence_prefect()
        if server.visible:
            print(f"watch it at {server.url.removesuffix('/api')}/runs", file=sys.stderr)

    done = run(loaded, listener=None if options.json else _tell, on_server=greet)
    if options.json:
        stages = [entry.__dict__ for entry in done.stages]
        path = str(done.path) if done.path else None
        print(json.dumps({"stages": stages, "metrics": done.metrics, "model_path": path, "run": done.run}))
    else:
        from flows.show import show_run

        show_run(done)
    return 0


def _plan(options: argparse.Namespace) -> int:
    loaded = _load(options)
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


def _lint(options: argparse.Namespace) -> int:
    loaded = _load(options)
    from flows.door import lint

    logging.getLogger("finetune").setLevel(logging.ERROR)  # warnings are shown together at the end
    found = lint(loaded, options.rejected)
    if options.json:
        print(json.dumps(found))
    else:
        from flows.show import show_lint

        show_lint(found)
    return 0


def _ask(options: argparse.Namespace) -> int:
    from flows import ask

    verb = ask.evaluate if options.judged else ask.predict

    def say(line: str) -> None:
        print(f"note: {line}", file=sys.stderr)

    done = verb(options.model, options.source, options.output, task=options.task, overrides=options.overrides, say=say)
    if options.judged and options.json:
        print(
            json.dumps(
                {"rows": done.rows, "metrics": done.metrics, "intervals": done.intervals, "output": options.output}
            )
        )
    elif options.judged:
        from flows.show import show_metrics

        show_metrics(done.metrics, done.intervals)
    if options.output:
        print(f"{done.rows} rows written to {options.output}", file=sys.stderr)
    return 0


def _schema(options: argparse.Namespace) -> int:
    from tasks.config import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _gc(options: argparse.Namespace) -> int:
    from tasks.artifacts.gc import collect

    found = collect(_store(options), options.keep_runs, options.grace_hours, sweep=options.yes)
    done = "removed" if options.yes else "would be removed; --yes removes"
    print(f"{len(found.names)} objects, {found.size / 1e6:.1f} MB {done}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from tasks.artifacts.scrub import scrub

    damage = list(scrub(_store(options)))
    for each in damage:
        print(f"{each.kind}: {each.name} (needed by {each.needed_by})")
    print("everything is what it was when it was written" if not damage else f"{len(damage)} damaged; a run that needs "
          "one of them builds it again")  # fmt: skip
    return 5 if damage else 0


def _server(options: argparse.Namespace) -> int:
    from tasks.runtime import server

    if options.action == "start":
        state = server.start(options.port)
        print(f"running at {str(state['url']).removesuffix('/api')} (pid {state['pid']}); runs now show there")
    elif options.action == "stop":
        print("stopped" if server.stop() else "no server was running")
    else:
        state = server.running()
        print(f"running at {state['url']} (pid {state['pid']})" if state else "not running")
        return 0 if state else 1
    return 0


def _load(options: argparse.Namespace) -> "Loaded":
    from tasks.config import load

    overrides = list(options.overrides)
    if options.store:
        overrides.append(f"store.root={json.dumps(options.store)}")
    loaded = load(options.config, overrides)
    for notice in loaded.notices:
        print(f"note: {notice}", file=sys.stderr)
    return loaded


def _store(options: argparse.Namespace) -> Any:
    from tasks.config import ConfigError, StoreConfig
    from tasks.runtime.carry import open_store

    store = open_store(StoreConfig(root=options.store))
    if store.local is not None and not store.local.root.is_dir():
        raise ConfigError(f"--store: there is no store at {store.root}")
    return store


def _tell(entry: "StageEntry") -> None:
    print(f"  {entry.stage:<14} {entry.state:<7} {entry.seconds:7.1f} s  {entry.reason}", file=sys.stderr)


def _console() -> None:
    """Our own lines on stderr; other libraries' only when something is wrong."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    logger = logging.getLogger("finetune")
    handler = _BesideBars()
    handler.setFormatter(logging.Formatter("  %(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _BesideBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Overrides may stand anywhere after the config, before options and behind them."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    strange = [word for word in rest if word.startswith("-") or "=" not in word or not hasattr(options, "overrides")]
    if strange:
        parser.error(f"{strange[0]!r} is neither an option nor key=value")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="finetune", description="Fine-tune transformer models in twelve cached, resumable stages."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, verb, what in (
        ("run", _run, "run a config; what is in the store already is not done again"),
        ("plan", _plan, "say what a run would do, find in the store, and cost"),
        ("lint", _lint, "check a config's data"),
    ):
        sub = verbs.add_parser(name, help=what, description=what)
        sub.add_argument("config", help="a YAML file")
        sub.add_argument("overrides", nargs="*", metavar="key=value", help="such as train.learning_rate=1e-4")
        sub.add_argument("--store", help="where artifacts live: a folder, an fsspec URL, or `memory`")
        sub.add_argument("--json", action="store_true", help="end stdout with one JSON object")
        if verb is _lint:
            sub.add_argument("--rejected", type=Path, help="where bad rows go: JSON lines of file, line, why, row")
        sub.set_defaults(verb=verb)
    for name, judged, what in (
        ("predict", False, "ask a finished model about rows; JSON lines to stdout, or a file"),
        ("evaluate", True, "measure a finished model on rows with the right answers"),
    ):
        sub = verbs.add_parser(name, help=what, description=what)
        sub.add_argument("model", help="a folder that `finetune run` wrote; with --task any transformers model")
        sub.add_argument("source", help="rows: a file, a folder, a glob, a URL, as data.train")
        sub.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.columns.text=body")
        sub.add_argument("-o", "--output", help="a .parquet, .arrow, .jsonl or .csv file")
        sub.add_argument("--task", help="what a model from elsewhere does")
        sub.add_argument("--json", action="store_true", help="end stdout with one JSON object")
        sub.set_defaults(verb=_ask, judged=judged)
    sub = verbs.add_parser("schema", help="print the config's JSON Schema")
    sub.set_defaults(verb=_schema)
    sub = verbs.add_parser("gc", help="remove what no run needs (without --yes: say what)")
    sub.add_argument("--store")
    sub.add_argument("--keep-runs", type=int, default=20, help="runs whose artifacts stay (default %(default)s)")
    sub.add_argument("--grace-hours", type=float, default=24.0, help="nothing younger goes (default %(default)s)")
    sub.add_argument("--yes", action="store_true", help="remove it")
    sub.set_defaults(verb=_gc)
    sub = verbs.add_parser("verify", help="prove every byte of the store")
    sub.add_argument("--store")
    sub.set_defaults(verb=_verify)
    sub = verbs.add_parser("server", help="a lasting local Prefect server with its UI")
    sub.add_argument("action", choices=("start", "status", "stop"))
    sub.add_argument("--port", type=int, default=4200)
    sub.set_defaults(verb=_server)
    return parser


if __name__ == "__main__":
    sys.exit(main())
