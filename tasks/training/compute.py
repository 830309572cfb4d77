"""Configure torch for a plan, and translate its errors for the user."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from tasks.config.errors import MachineError, TrainingError
from tasks.models.torch_settings import deterministic, torch_configured


@contextmanager
def computing_as(plan: Mapping[str, Any]) -> Iterator[None]:
    """Within, torch is configured by the plan: threads, the precision of float32 products, and on a GPU deterministic
    kernels.

    Raises:
        MachineError: the plan is for a GPU that torch cannot use, or torch can use one that the plan does not have.
            TrainingError: out of memory, or no deterministic kernel.
    """
    if plan["device"] != "cpu" and not torch.cuda.is_available():
        raise MachineError(f"the plan is for {plan['device']}, but torch cannot use it; set CUDA_VISIBLE_DEVICES='' to "
                           "train on the CPU")  # fmt: skip
    if plan["device"] == "cpu" and not plan["arguments"].get("use_cpu") and torch.cuda.is_available():
        raise MachineError(f"torch can use {torch.cuda.get_device_name()}, but the driver's library (NVML) lists no "
                           "GPU, so the plan is for the CPU; repair the driver, or set train.use_cpu: true to train on "
                           "the CPU")  # fmt: skip
    with (
        torch_configured(plan["threads"], plan["float32_matmul_precision"]),
        deterministic(plan["deterministic"]) if plan["device"] != "cpu" else nullcontext(),
    ):
        try:
            yield
        except RuntimeError as error:
            if named := _as_training_error(error):
                raise named from error
            raise


@contextmanager
def computing_rows(
    plan: Mapping[str, Any], progress: Callable[[str], AbstractContextManager[Any]], what: str
) -> Generator[Callable[[int, int], None]]:
    """`computing_as`; yields a function to call with rows done and in total.

    Args:
        progress: given what is done with the rows, returns what reports them (its `rows` is called).
    """
    with computing_as(plan), progress(what) as told:
        yield told.rows


def _as_training_error(error: RuntimeError) -> TrainingError | None:
    """Return a TrainingError with advice for a known torch error; None for others."""
    if isinstance(error, torch.OutOfMemoryError):
        return TrainingError(
            "the device ran out of memory; halve train.per_device_train_batch_size and double "
            "train.gradient_accumulation_steps, which trains the same"
        )
    if "use_deterministic_algorithms" in str(error):
        late = "CuBLAS" in str(error)  # the GPU was initialized before the setting
        return TrainingError(
            f"there is no deterministic kernel ({str(error).splitlines()[0]}); set "
            f"{'CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts, or ' if late else ''}train.full_determinism: "
            "false: the run can then still be resumed, but not bit for bit"
        )
    return None
