"""The Python API of chains: a config with `steps` in, the runs of the steps out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import ConfigError, LoadedChain, load_chain
from tasks.data.sources.fetch import fetching_once
from tasks.data.sources.locate import own_cache
from tasks.execution.execute import exclusive_run
from tasks.runtime.context import StageEntry
from tasks.runtime.prefect_api import launch
from tasks.runtime.prefect_api.server import Server

if TYPE_CHECKING:
    from flows.chain.result import Aligned, Continual


def run_chain(
    loaded: LoadedChain,
    listener: Callable[[StageEntry], None] | None = None,
    on_server: Callable[[Server], None] | None = None,
) -> Aligned:
    """Run a loaded chain as a flow run.

    Args:
        listener: called with each stage of each step as it ends.
        on_server: called with the API's server once it answers.
    """

    with exclusive_run(), fetching_once():
        if launch.in_flow():
            return _call(loaded, listener)
        with launch.prefect_at_hand(_prepare) as server:
            if on_server:
                on_server(server)
                return _call(loaded, listener)
            with launch.quietly(server):
                return _call(loaded, listener)


def _prepare() -> bool:
    launch.import_heavy()
    import_module("flows.chain.flow")  # Prefect sets up its logging with the first flow, and `on_server` changes it
    return True


def _call(loaded: LoadedChain, listener: Callable[[StageEntry], None] | None) -> Aligned:
    from flows.chain import flow
    from flows.chain.execute import chain_at_hand

    run = flow.align if loaded.continual is None else flow.continual
    with chain_at_hand(loaded, listener):
        return run(**loaded.parameters())  # type: ignore[return-value] — Prefect's overloads


def align(
    config: str | Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = (), **sections: Any
) -> Aligned:
    """Run several trainings, each from the model that the one before made: `model, tokenizer = align(config)`.

    Args:
        config: as for `finetune`, with `steps`; or sections as keywords
            (`align(model="…", steps=[{"task": "sft", "data": …}, {"task": "dpo", "data": …}])`). Rows may be given in
            place of files, as for `finetune`.
        overrides: `["train.max_steps=100", "steps[1].train.learning_rate=1e-6", …]`.

    Returns:
        The runs of the steps, in `.steps`; it unpacks to the model of the last step that trains an answering model, in
        eval mode, and its tokenizer.

    Raises:
        ConfigError, DataError, TrainingError, MachineError, Interrupted: naming the step; see `tasks.config.errors`.
    """
    return _chain("align", "steps", config, overrides, sections)


def continual(
    config: str | Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = (), **sections: Any
) -> Continual:
    """Train one task after another and measure what is forgotten: `model, tokenizer = continual(config)`.

    Args:
        config: as for `finetune`, with `continual`; or sections as keywords
            (`continual(model="…", continual=["a.csv", "b.csv"], methods={"ewc": 1000})`). Rows may be given in place of
            files, as for `finetune`.
        overrides: `["train.max_steps=100", "continual[1].train.learning_rate=1e-6", "continual.alone=true", …]`.

    Returns:
        The runs of the tasks, in `.steps`, and the matrix of step × task in `.matrix`; it unpacks to the last model, in
        eval mode, and its tokenizer.

    Raises:
        ConfigError, DataError, TrainingError, MachineError, Interrupted: naming the task; see `tasks.config.errors`.
            TrainingError also if more is forgotten than `max_forgetting`.
    """
    return _chain("continual", "continual", config, overrides, sections)  # type: ignore[return-value] — of the field


def _chain(
    verb: str, field: str, config: str | Path | Mapping[str, Any] | None, overrides: Sequence[str],
    sections: Mapping[str, Any],
) -> Aligned:  # fmt: skip
    from tasks.config.reading.continual import TASKS

    if config is not None and sections:
        raise TypeError(f"{verb}: give a config or sections as keywords, not both")
    chosen = config if config is not None else sections
    if isinstance(chosen, Mapping):
        chosen = _with_files(chosen)
        steps = chosen.get(field)
        if isinstance(steps, Mapping):
            chosen[field] = {**steps, TASKS: _steps_with_files(steps.get(TASKS))}
        else:
            chosen[field] = _steps_with_files(steps)
    loaded = load_chain(chosen, overrides)
    if (loaded.continual is None) == (field == "continual"):
        other = "align" if loaded.continual is None else "continual"
        raise ConfigError(f"{loaded.steps[0].field}: these are for `{other}`")
    return run_chain(loaded)


def _steps_with_files(steps: object) -> object:
    if not isinstance(steps, list | tuple):
        return steps
    return [_with_files(step) if isinstance(step, Mapping) else step for step in steps]


def _with_files(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections with rows in `data` replaced by files."""
    from tasks.data.sources.objects import save_rows

    data = values.get("data")
    partial = isinstance(data, Mapping) and all(isinstance(name, str) for name in data) and "train" not in data
    return dict(values) if data is None or partial else {**values, "data": save_rows(data, own_cache())}
