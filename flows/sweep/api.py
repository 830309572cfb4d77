"""The Python API of sweeps: a config with a `sweep` in, a `Grid` out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.api import SECTIONS
from tasks.config import LoadedSweep, RunConfig, load_sweep
from tasks.data.sources.locate import own_cache
from tasks.execution.execute import CallerOptions, exclusive_run, with_caller
from tasks.runtime.prefect_api import launch
from tasks.runtime.prefect_api.server import Server

if TYPE_CHECKING:
    from flows.sweep.execute import CellProgress
    from flows.sweep.result import Grid


def run_sweep(
    loaded: LoadedSweep,
    listener: Callable[[CellProgress], None] | None = None,
    on_server: Callable[[Server], None] | None = None,
) -> Grid:
    """Run a loaded sweep as a flow run.

    Args:
        listener: called with each cell as it ends. on_server: called with the API's server once it answers.
    """
    parameters = {name: getattr(loaded.base.config, name) for name in SECTIONS}

    def call(server: Server | None) -> Grid:
        from flows.sweep.execute import cell_listener
        from flows.sweep.flow import grid as flow

        if on_server and server:
            on_server(server)
        with cell_listener(listener):
            return flow(**parameters, sweep=loaded.sweep)  # type: ignore[return-value] — Prefect's overloads

    with exclusive_run(), with_caller(CallerOptions(loaded.base.origin)):
        if launch.in_flow():
            return call(None)
        with launch.prefect_at_hand(lambda: True) as server:
            return call(server)


def grid(
    config: str | Path | Mapping[str, Any] | RunConfig | None = None, overrides: Sequence[str] = (), **sections: Any
) -> Grid:
    """Fine-tune once per combination of values and keep the best: `model, tokenizer = grid(config)`.

    Args:
        config: as for `finetune`, with a `sweep` section; or sections as keywords.
        overrides: `["sweep.parallel=1", "train.max_steps=100", …]`.

    Returns:
        The finished sweep; it unpacks to the best cell's model, in eval mode, and its tokenizer. A cell that failed is
        a row of `table` with its error, and `state` is `partial`.

    Raises:
        ConfigError: invalid cells, before any starts; another thread of this process is in a run or a sweep.
        TrainingError: every cell failed.
    """
    if config is not None and sections:
        raise TypeError("grid: give a config or sections as keywords, not both")
    chosen = config if config is not None else sections
    if isinstance(chosen, Mapping) and "data" in chosen:
        from tasks.data.sources.objects import save_rows

        chosen = {**chosen, "data": save_rows(chosen["data"], own_cache())}
    return run_sweep(load_sweep(chosen, overrides))
