"""Where the cells of a sweep run: Prefect's task runners for threads of this process, for Ray and for Dask."""

# pyright: reportMissingTypeStubs=false
# (prefect-ray has no types)

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from tasks.config import ConfigError, SweepConfig
from tasks.config.json_types import JsonObject

if TYPE_CHECKING:
    from prefect import Task
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

Submit: TypeAlias = "Callable[[Task[..., Any], JsonObject], PrefectFuture[Any]]"


def runner_of(sweep: SweepConfig, slots: int) -> Any:
    """Prefect's task runner for a sweep, not started yet.

    Args:
        slots: cells at once, where the sweep names no cluster.

    Raises:
        ConfigError: the extra it needs is not installed.
    """
    try:
        if sweep.runner == "ray":
            from prefect_ray import RayTaskRunner

            # No dashboard and no usage reports: a local cluster only runs cells.
            local = {} if sweep.address else {"num_cpus": slots, "include_dashboard": False}
            return RayTaskRunner[Any](address=sweep.address, init_kwargs=local)
        if sweep.runner == "dask":
            from prefect_dask.task_runners import DaskTaskRunner

            if sweep.address:
                return DaskTaskRunner(address=sweep.address)
            return DaskTaskRunner(cluster_kwargs={"n_workers": slots, "threads_per_worker": 1,
                                                  "dashboard_address": None})  # fmt: skip
    except ImportError as error:
        raise ConfigError(f"sweep.runner: {sweep.runner} needs an extra: pip install 'finetune-flow[{sweep.runner}]'") \
            from error  # fmt: skip
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner[Any](max_workers=slots)


@contextmanager
def submitting(sweep: SweepConfig, runner: TaskRunner[Any]) -> Generator[Submit]:
    """How a task is submitted. A cell whose worker died must not be retried unnoticed, as Ray would three times."""

    def submit(task: Task[..., Any], parameters: JsonObject) -> PrefectFuture[Any]:
        return runner.submit(task, parameters=parameters)

    if sweep.runner == "ray":
        from prefect_ray.context import remote_options

        with remote_options(max_retries=0, num_cpus=1):
            yield submit
        return
    if sweep.runner == "dask":
        from dask import config

        with config.set({"distributed.scheduler.allowed-failures": 0}):
            yield submit
        return
    yield submit
