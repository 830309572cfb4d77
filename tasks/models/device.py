"""Determine the device of a run without importing torch (config checks, plans and keys must stay fast)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tasks.config import RunConfig
from tasks.config.json_types import JsonObject

PRECISION = ("use_cpu", "bf16", "fp16", "full_determinism")


class Gpu(NamedTuple):
    """A GPU as reported by the driver; `capability` is CUDA's, as (9, 0)."""

    name: str
    uuid: str
    capability: tuple[int, int]


def device() -> str:
    """Return `cuda:<names of the visible GPUs>`, or `cpu`."""
    gpus = _visible()
    return f"cuda:{','.join(gpu.name for gpu in gpus)}" if gpus else "cpu"


def training_device(use_cpu: bool | None = None) -> str:
    """Return `device()`, or `cpu` if `train.use_cpu` says so."""
    return "cpu" if use_cpu else device()


def quantizes(where: str) -> bool:
    """Return whether bitsandbytes computes on a device: whether it is installed with a native library for it."""
    package = find_spec("bitsandbytes")
    folders = package.submodule_search_locations if package else None
    return any(any(Path(folder).glob(f"libbitsandbytes_{kind(where)}*")) for folder in folders or ())


def kind(where: str) -> str:
    """Return torch's type of a device: `cpu` or `cuda`."""
    return where.partition(":")[0]


@contextmanager
def untouched() -> Iterator[None]:
    """Within, libraries can be imported in a process that will fork: none of them initializes a GPU.

    bitsandbytes asks torch for each GPU's capability on import. torch would open the GPUs to answer, and a fork of such
    a process cannot use them any more. The driver provides the same information.
    """
    gpus = _visible()
    if not gpus:
        yield
        return
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # torch then asks the driver whether there is a GPU
    import torch

    def capability(device: Any = None) -> tuple[int, int]:
        device = torch.device(device) if isinstance(device, str) else device
        return gpus[getattr(device, "idx", getattr(device, "index", device)) or 0].capability

    original, torch.cuda.get_device_capability = torch.cuda.get_device_capability, capability
    try:
        yield
    finally:
        torch.cuda.get_device_capability = original
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK")


def _visible() -> list[Gpu]:
    """Return the GPUs in `CUDA_VISIBLE_DEVICES`, read as CUDA does: by index or UUID, up to the first invalid entry;
    none if one is repeated. Indices are in bus order (`CUDA_DEVICE_ORDER`, see `flows`).
    """
    requested = os.environ.get("CUDA_VISIBLE_DEVICES")
    if requested in ("", "-1") or version("torch").endswith("+cpu"):
        return []
    gpus = _gpus()
    if requested is None:
        return gpus
    chosen: list[Gpu] = []
    for part in map(str.strip, requested.split(",")):
        if part.startswith("MIG-"):
            found = [gpu._replace(name=part) for gpu in gpus[:1]]
        elif part.isdigit():
            found = gpus[int(part) : int(part) + 1]
        else:
            found = [gpu for gpu in gpus if part.startswith("GPU-") and gpu.uuid.startswith(part)]
        if len(found) != 1:
            break
        chosen += found
    return chosen if len(set(chosen)) == len(chosen) else []


@lru_cache(maxsize=1)
def _gpus() -> list[Gpu]:
    """Return all GPUs of this machine from the driver, which also works under WSL and in containers without its
    /proc."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return []
    found: list[Gpu] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        with suppress(pynvml.NVMLError):  # not accessible, or broken: CUDA does not see it either
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
            found.append(Gpu(name, uuid, (major, minor)))
    return found


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def threads(requested: int | None = None) -> int:
    """Return the number of torch threads: the configured one, else `OMP_NUM_THREADS`, else the available cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return requested or (int(given) if given.isdigit() and int(given) > 0 else cores())


def machine() -> dict[str, str]:
    """Return what of this machine a computation's bits depend on, for keys."""
    return {"device": device(), "threads": str(threads()), "matmul": matmul_precision()}


def matmul_precision(requested: str = "auto") -> str:
    """Return the value for `torch.set_float32_matmul_precision`.

    `auto` is `medium` on CPUs: its kernels are faster (1.8 × here) and their error is still that of float32 (8.7e-5
    against 4.2e-5 on a layer). On CPUs with AMX, where `medium` may compute in bfloat16, and on GPUs, `auto` is
    `highest`.
    """
    if requested != "auto":
        return requested
    return "highest" if device() != "cpu" or _has_amx() else "medium"


def placing(run: RunConfig) -> JsonObject:
    """Return the settings of `train` that say where and how precisely to compute, for `placed`."""
    given = {name: value for name in PRECISION if (value := getattr(run.train, name, None)) is not None}
    return {"training": given, "torch_num_threads": run.train.torch_num_threads,
            "float32_matmul_precision": run.train.float32_matmul_precision}  # fmt: skip


def placed(requested: Mapping[str, Any]) -> JsonObject:
    """Return device and precision of a training on this machine.

    Args:
        requested: stage 1's `arguments.json`.

    Returns:
        `arguments` (with `bf16` if the device has it and no precision is set), `device`, `deterministic` (whether a GPU
        may only use deterministic kernels; a CPU always does), `threads` and `float32_matmul_precision`.
    """
    training = dict(requested["training"])
    where = training_device(training.get("use_cpu"))
    if where != "cpu" and not any(name in training for name in ("bf16", "fp16")):
        import torch

        training["bf16"] = torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "deterministic": training.pop("full_determinism", None) is not False and where != "cpu",
        "arguments": training,
        "device": where,
        "threads": threads(requested["torch_num_threads"]),
        "float32_matmul_precision": matmul_precision(requested["float32_matmul_precision"] or "auto"),
    }


def _has_amx() -> bool:
    return any("amx_bf16" in line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("flags"))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
