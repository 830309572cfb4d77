"""The Python API of chains: a config with `steps` in, the runs of the steps out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import LoadedChain, load_chain
from tasks.data.sources.fetch import fetching_once
from tasks.data.sources.locate import own_cache
from tasks.execution.execute import exclusive_run
from tasks.runtime.context import StageEntry
from tasks.runtime.prefect_api import launch
from tasks.runtime.prefect_api.server import Server

if TYPE_CHECKING:
    from flows.chain.result import Aligned


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
    from flows.chain.execute import chain_at_hand
    from flows.chain.flow import align as flow

    with chain_at_hand(loaded, listener):
        return flow(**loaded.parameters())  # type: ignore[return-value] — Prefect's overloads


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
    if config is not None and sections:
        raise TypeError("align: give a config or sections as keywords, not both")
    chosen = config if config is not None else sections
    if isinstance(chosen, Mapping):
        chosen = _with_files(chosen)
        steps = chosen.get("steps")
        if isinstance(steps, list | tuple):
            chosen["steps"] = [_with_files(step) if isinstance(step, Mapping) else step for step in steps]
    return run_chain(load_chain(chosen, overrides))


def _with_files(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections with rows in `data` replaced by files."""
    from tasks.data.sources.objects import save_rows

    data = values.get("data")
    partial = isinstance(data, Mapping) and all(isinstance(name, str) for name in data) and "train" not in data
    return dict(values) if data is None or partial else {**values, "data": save_rows(data, own_cache())}
