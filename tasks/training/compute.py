"""How torch is configured while a plan is executed, and what its errors mean to a user."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from tasks.config.errors import MachineError, TrainingError
from tasks.models.torch_settings import deterministic, torch_configured


@contextmanager
def computing_as(plan: Mapping[str, Any]) -> Iterator[None]:
    """Within this context torch computes as the plan says: threads, the precision of float32 products, and on a GPU
    only kernels that add in the same order every time.

    Raises:
        MachineError: the plan was made for a GPU that torch cannot use, or torch can use one that the plan knows
            nothing of. TrainingError: no memory, or no such kernel.
    """
    if plan["device"] != "cpu" and not torch.cuda.is_available():
        raise MachineError(f"the plan is for {plan['device']}, but torch cannot use it; set CUDA_VISIBLE_DEVICES='' to "
                           "train on the CPU")  # fmt: skip
    if plan["device"] == "cpu" and not plan["arguments"].get("use_cpu") and torch.cuda.is_available():
        raise MachineError(f"torch can use {torch.cuda.get_device_name()}, but the driver's library (NVML) lists no "
                           "GPU, so the plan is for the CPU; repair the driver, or set train.use_cpu: true to train on "
                           "the CPU all the same")  # fmt: skip
    with (
        torch_configured(plan["threads"], plan["float32_matmul_precision"]),
        deterministic(plan["deterministic"]) if plan["device"] != "cpu" else nullcontext(),
    ):
        try:
            yield
        except RuntimeError as error:
            if named := _named(error):
                raise named from error
            raise


def _named(error: RuntimeError) -> TrainingError | None:
    """What torch could not do, with what to do about it; None for an error of another kind."""
    if isinstance(error, torch.OutOfMemoryError):
        return TrainingError(
            "the device ran out of memory; halve train.per_device_train_batch_size and double "
            "train.gradient_accumulation_steps, which trains the same"
        )
    if "use_deterministic_algorithms" in str(error):
        late = "CuBLAS" in str(error)  # the GPU was initialized before the setting
        return TrainingError(
            f"only kernels that give the same bits every time are to be used ({str(error).splitlines()[0]}); set "
            f"{'CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts, or ' if late else ''}train.full_determinism: "
            "false: the run then resumes as ever, but not bit for bit"
        )
    return None
