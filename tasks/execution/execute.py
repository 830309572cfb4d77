"""Executes a config: resolves defaults, opens the store, calls the twelve stages, and records the run."""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from tasks.artifacts.record import NewerStore
from tasks.artifacts.scratch import Scratch
from tasks.artifacts.store import DamagedBlob, Store
from tasks.config import ConfigError, RunConfig, StoreConfig, to_yaml
from tasks.config.cache import cache_home
from tasks.config.errors import MACHINE_ERRORS, Interrupted, MachineError
from tasks.config.json_types import JsonObject
from tasks.config.leaves import leaves
from tasks.config.sections.secrets import has_credentials
from tasks.config.sections.section import check_path
from tasks.data.sources.fetch import fetching_once
from tasks.execution.preflight import check_paths
from tasks.objectives.presets import resolve
from tasks.results.publish import publish, publish_failure
from tasks.runtime.context import Paused, RunContext, StageEntry, open_run
from tasks.runtime.log import info, warn
from tasks.runtime.secrets import redacting_errors, secrets_in_environment
from tasks.runtime.tracking import reporting

Result = TypeVar("Result")
NAME_LENGTH = 100


@dataclass(frozen=True)
class CallerOptions:
    """Options of a caller besides the config, which cannot be passed as flow parameters.

    Attributes:
        origin: where each given value was written.
        replaced: a caller's own stages by name.
        file: the config file, absolute.
        listener: called with each stage's entry.
        until: the share of the training after which to pause, for a sweep's rungs.
        on_failure: called with the error that ended the run, after it is recorded and before Prefect gets it.
        overwrite: whether files in `output_dir` may be replaced; a sweep checks that before its first cell.
    """

    origin: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, Callable[..., Mapping[str, Any]]] = field(default_factory=dict)
    file: str | None = None
    listener: Callable[[StageEntry], None] | None = None
    until: float | None = None
    on_failure: Callable[[BaseException], None] | None = None
    overwrite: bool = False


_caller: ContextVar[CallerOptions | None] = ContextVar("finetune_caller", default=None)


_running = threading.RLock()


@contextmanager
def exclusive_run() -> Iterator[None]:
    """Allow only one run at a time in a process: torch's random generator and number of threads are global.

    Raises:
        ConfigError: another thread is in a run.
    """
    if not _running.acquire(blocking=False):
        raise ConfigError(
            "another thread of this process is in a run; runs in threads would share one random generator. "
            "Run them one after another, or in separate processes: `finetune run`, `finetune grid`, deployments"
        )
    try:
        yield
    finally:
        _running.release()


@contextmanager
def with_caller(caller: CallerOptions) -> Iterator[None]:
    """Pass `caller` to the run that starts within this context."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def current_caller() -> CallerOptions:
    """Return the options of the current run's caller."""
    return _caller.get() or CallerOptions()


def unless_better(config: RunConfig) -> str:
    """Return, for messages, the condition under which a run does not replace the model in `output_dir`."""
    return " unless that one is better" if config.export.promote == "if_better" else ""


def store_root(section: StoreConfig) -> str:
    """Return the root of a store: the section's, else $FINETUNE_STORE, else a folder in the cache.

    Raises:
        ConfigError: $FINETUNE_STORE is not a valid path.
    """
    root = section.root or os.environ.get("FINETUNE_STORE") or str(cache_home() / "store")
    try:
        root = check_path(root)
    except ValueError as error:
        raise ConfigError(f"store.root: {error} ($FINETUNE_STORE)") from None
    return root if root == "memory" or "://" in root else str(Path(root).expanduser().absolute())


def open_store(section: StoreConfig) -> Store:
    """Open the store of a config section.

    Raises:
        ConfigError: there is no such kind of store, its driver is not installed, or its URL holds credentials.
    """
    root = store_root(section)
    if has_credentials(root):
        raise ConfigError("store.root: this URL contains credentials ($FINETUNE_STORE); set them as environment "
                          "variables of the service, such as AWS_SECRET_ACCESS_KEY")  # fmt: skip
    try:
        return Store(root, section.verify)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"store.root: {section.root!r} cannot be used: {error}") from error


def execute(config: RunConfig, pipeline: Callable[[RunConfig, str], Result]) -> Result | Paused:
    """Run `pipeline(resolved config, the same as YAML)` as one run of the flow.

    If an artifact is found damaged while it is read, it is removed and the stages are called again; the others are
    cache hits. `Paused` is returned only if a pause was requested.

    Raises:
        FinetuneError: an error the user can fix.
    """
    with exclusive_run(), redacting_errors(), secrets_in_environment(config.secrets), fetching_once():
        return _execute(config, pipeline, current_caller())


def _execute(config: RunConfig, pipeline: Callable[[RunConfig, str], Result], caller: CallerOptions) -> Result | Paused:
    resolved, origin = resolve(config, caller.origin)
    if caller.origin:  # the flow passes every parameter; one without an origin is still a default
        origin = {path: "default" if place == "parameters" else place for path, place in origin.items()}
    context = RunContext(
        open_store(resolved.store),
        run_name(),
        replaced=caller.replaced,
        listener=caller.listener,
        until=caller.until,
    )
    context.summary = _summary(resolved, origin, caller.file)
    text = to_yaml(
        resolved, origin, header=f"written by run {context.run}; `finetune run` on this file repeats the run"
    )
    context.overwrite = caller.overwrite or resolved.export.overwrite
    context.overwrites = check_paths(resolved, context.store, probe=True, overwrite=context.overwrite)
    if context.overwrites:
        info(f"output_dir: {context.overwrites}; this run replaces it{unless_better(resolved)}")
    with open_run(context), context.store.run_lock(context.run), reporting(context):
        try:
            result = _with_retries(context, lambda: pipeline(resolved, text))
        except OSError as error:  # outside stages, in which they are MachineErrors already
            _record_failure(context, error)
            if error.errno not in MACHINE_ERRORS:
                raise
            where = f" ({error.filename})" if error.filename else ""
            raise MachineError(f"{error.strerror}{where}; store.root is {context.store.root}") from error
        except Paused as pause:
            _record_end(context, "paused")
            return pause
        except NewerStore:
            raise  # nothing is written to such a store, not even a record
        except BaseException as error:
            _record_failure(context, error)
            if caller.on_failure:
                caller.on_failure(error)
            raise
        publish(context)
        _record_end(context, "completed")
    return result


def dry_run(
    config: RunConfig,
    pipeline: Callable[[RunConfig, str], Any],
    caller: CallerOptions,
    run_in_plan: bool,
    beside: RunContext | None = None,
) -> tuple[RunConfig, RunContext]:
    """Look up every stage without running the heavy ones; nothing is written to the store.

    Args:
        run_in_plan: whether missing light stages run, into a temporary store, so that later stages get keys.
        beside: an earlier dry run, with results of light stages that are reused.
    """
    resolved, origin = resolve(config, caller.origin)
    if beside is None:
        scratch: Any = Scratch()  # not memory: rows may be many
        overlay = Store(str(scratch.path))
    else:
        scratch, overlay = beside.keeps, beside.overlay
    context = RunContext(open_store(resolved.store), "plan", replaced=caller.replaced, overlay=overlay, keeps=scratch)
    context.summary = _summary(resolved, origin, caller.file)
    context.run_in_plan, context.origin = run_in_plan, origin
    context.overwrites = check_paths(resolved, context.store, probe=False)
    with open_run(context), fetching_once():
        pipeline(resolved, "")
    return resolved, context


def _with_retries(context: RunContext, calls: Callable[[], Result]) -> Result:
    """Make the calls, and again after each damaged blob, which has been removed; other stages are then cache hits."""
    damaged: set[str] = set()
    while True:
        try:
            return calls()
        except DamagedBlob as error:
            if error.blob in damaged:  # damaged again after a rebuild: the store is unreliable
                raise
            damaged.add(error.blob)
            warn(f"{error.blob} was damaged and is rebuilt")
            context.entries.clear()


def _summary(config: RunConfig, origin: Mapping[str, str], file: str | None) -> JsonObject:
    computed = ("default", "the default of", "preset", "twice")
    given = [
        (leaf.path, leaf.value, origin[leaf.path])
        for leaf in leaves(config)
        if not origin[leaf.path].startswith(computed)
    ]
    path = str(Path(config.output_dir).expanduser().absolute()) if config.output_dir else None
    return {
        "name": config.name, "config_file": file, "given": given, "model_path": path,
        "config": config.model_dump(mode="json"),
    }  # fmt: skip


def _record_failure(context: RunContext, error: BaseException) -> None:
    state = "interrupted" if isinstance(error, Interrupted) or not isinstance(error, Exception) else "failed"
    publish_failure(context, error, state)
    _record_end(context, state)


def _record_end(context: RunContext, state: str) -> None:
    try:
        context.write(state)
    except (OSError, MachineError) as error:  # must not hide the run's outcome
        warn(f"the run's record could not be written: {error}")


def run_name() -> str:
    import sys

    if "prefect" in sys.modules:
        from prefect.context import FlowRunContext

        flow = FlowRunContext.get()
        if flow is not None and flow.flow_run is not None:
            plain = re.sub(r"[^\w.=-]+", "-", flow.flow_run.name)[:NAME_LENGTH]  # used as a file name
            return f"{plain}-{str(flow.flow_run.id)[:6]}"
    return f"run-{uuid4().hex[:8]}"
