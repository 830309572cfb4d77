"""The Python API: a config in, a `FineTuned` out, with or without a Prefect server."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import Loaded, RunConfig, load
from tasks.config.json_types import JsonObject
from tasks.data.sources.fetch import fetching_once
from tasks.data.sources.locate import own_cache
from tasks.execution.execute import CallerOptions, dry_run, exclusive_run, with_caller
from tasks.results.finetuned import FineTuned
from tasks.runtime.context import RunContext, StageEntry
from tasks.runtime.prefect_api import launch
from tasks.runtime.prefect_api.server import Server

if TYPE_CHECKING:
    from tasks.data.chat.preview import RenderedRow

SECTIONS = tuple(RunConfig.model_fields)


def run(
    loaded: Loaded,
    stages: Mapping[str, Callable[..., Mapping[str, Any]]] | None = None,
    listener: Callable[[StageEntry], None] | None = None,
    on_server: Callable[[Server], None] | None = None,
    flow_run_name: str | None = None,
) -> FineTuned:
    """Run a loaded config as a flow run.

    Args:
        stages: the caller's own functions in place of stages, by stage name.
        listener: called with each stage as it ends. on_server: called with the API's server once it answers.
        flow_run_name: of a run within another flow; by default Prefect generates one.
    """
    caller = CallerOptions(loaded.origin, stages or {}, loaded.file, listener)
    parameters = {name: getattr(loaded.config, name) for name in SECTIONS}
    with exclusive_run(), with_caller(caller), fetching_once():
        if launch.in_flow():
            from flows.pipeline import finetune as flow

            named: Any = flow
            flow = named.with_options(flow_run_name=flow_run_name) if flow_run_name else flow
            return flow(**parameters)  # type: ignore[return-value] — Prefect's overloads
        with launch.prefect_at_hand(lambda: _prepare(loaded, caller)) as server:
            from flows.pipeline import finetune as flow

            if on_server:
                on_server(server)
                return flow(**parameters)  # type: ignore[return-value]
            with launch.quietly(server):
                return flow(**parameters)  # type: ignore[return-value]


def plan(loaded: Loaded) -> tuple[RunConfig, RunContext]:
    """Return what `run` would do. Light stages run in memory so that the keys of later stages are known."""
    from flows.pipeline import pipeline

    with launch.blocks_at_hand(loaded.config.secrets):
        return dry_run(loaded.config, pipeline, CallerOptions(loaded.origin, file=loaded.file), run_in_plan=True)


def rendered_sample(loaded: Loaded) -> "RenderedRow | None":
    """Return a training row of conversations as the model sees it: its text, and the spans of characters whose tokens
    are trained; None for tasks that train on all tokens. No weights are loaded.

    Raises:
        ConfigError, DataError: as `run` would raise them before training.
    """
    from tasks.execution.sample import rendered_sample

    return rendered_sample(*plan(loaded))


def lint(loaded: Loaded, rejected: Path | None = None) -> JsonObject:
    """Check a config's data as stage 4 does; return counts, warnings, one sample row, lengths.

    Args:
        rejected: file for bad rows, as JSON lines (file, line, why, row).

    Raises:
        DataError: naming the file and line of what is wrong.
    """
    from tasks.execution.lint import rejecting_rows, tokens
    from tasks.objectives import objective_of
    from tasks.runtime.inputs import Unkeyed
    from tasks.s04_prepare import prepare, reading

    def check(config: RunConfig, _: str) -> None:
        prepare(objective=objective_of(config.task), reading=reading(config.data), data=Unkeyed(value=config.data))

    def whole() -> JsonObject:
        resolved, context = dry_run(
            loaded.config, check, CallerOptions(loaded.origin, file=loaded.file), run_in_plan=True
        )
        found = context.read("s04_prepare", "data.json")
        splits = {split: context.rows("s04_prepare", split) for split in found["rows"]}
        return {**found, "tokens": tokens(resolved, splits)}

    with launch.blocks_at_hand(loaded.config.secrets):
        return rejecting_rows(whole, rejected)


def finetune(
    config: str | Path | Mapping[str, Any] | RunConfig | None = None,
    overrides: Sequence[str] = (),
    *,
    stages: Mapping[str, Callable[..., Mapping[str, Any]]] | None = None,
    **sections: Any,
) -> FineTuned:
    """Fine-tune a model: `model, tokenizer = finetune(config)`.

    Args:
        config: a YAML file, a mapping, or a `RunConfig`; or its sections as keywords
            (`finetune(model="…", data={"train": "…"})`). `data`, and its `train`, `validation` and `test`, may also
            be rows: a list of dicts or tuples, a dict of columns, a DataFrame, a `Dataset` or `DatasetDict`, a
            generator.
        overrides: `["train.learning_rate=1e-4", …]`.
        stages: functions to use in place of stages, by name (`{"s05_tokenize": mine}`), with the stage's own
            signature: `mine(build, *, …) -> facts`. Their source is part of the key.

    Returns:
        The finished run; it unpacks to the model, in eval mode (an adapter is trainable), and its tokenizer.

    Raises:
        ConfigError, DataError, TrainingError, MachineError, Interrupted: see `tasks.config.errors`.
    """
    if config is not None and sections:
        raise TypeError("finetune: give a config or sections as keywords, not both")
    given = config if config is not None else sections
    if isinstance(given, Mapping) and "data" in given:
        from tasks.data.sources.objects import save_rows

        given = {**given, "data": save_rows(given["data"], own_cache())}
    return run(load(given, overrides), stages)


def _prepare(loaded: Loaded, caller: CallerOptions) -> bool:
    """While the API starts, plan the run (which finds config errors) and import what heavy stages need; return whether
    there is anything to build."""
    from flows.pipeline import pipeline

    if loaded.config.secrets:  # they cannot be read before the API answers
        launch.import_heavy()
        return True
    _, context = dry_run(loaded.config, pipeline, caller, run_in_plan=False)
    missing = any(entry.state == "miss" for entry in context.entries)
    if missing:
        launch.import_heavy()
    return missing
