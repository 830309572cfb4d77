"""Change torch's settings during a run; the caller's settings are restored afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def torch_configured(threads: int, matmul_precision: str) -> Iterator[None]:
    """Within, torch uses that many threads and that precision for float32 products.

    Args:
        matmul_precision: see `torch.set_float32_matmul_precision`.
    """
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul_precision)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within, torch's random numbers come from `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Within, use only deterministic kernels on a GPU, if `wanted`.

    transformers' `full_determinism` also makes kernel launches synchronous, which is not needed.
    """
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    flash_before = os.environ.get("FLASH_ATTENTION_DETERMINISTIC")
    os.environ["FLASH_ATTENTION_DETERMINISTIC"] = str(int(wanted))  # read by transformers for flash-attention
    torch.use_deterministic_algorithms(wanted)
    settings.fill_uninitialized_memory = False  # filling unused memory takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        settings.fill_uninitialized_memory = before[1]
        if flash_before is None:
            del os.environ["FLASH_ATTENTION_DETERMINISTIC"]
        else:
            os.environ["FLASH_ATTENTION_DETERMINISTIC"] = flash_before
