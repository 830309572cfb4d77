"""Which device a run will use, asked without importing torch (config checks, plans and keys must stay quick)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple


class Gpu(NamedTuple):
    """What the driver says of a GPU; `capability` is CUDA's, as (9, 0)."""

    name: str
    uuid: str
    capability: tuple[int, int]


def device() -> str:
    """`cuda:<names of the visible GPUs>`, or `cpu`."""
    gpus = _visible()
    return f"cuda:{','.join(gpu.name for gpu in gpus)}" if gpus else "cpu"


@contextmanager
def untouched() -> Iterator[None]:
    """Here libraries can be imported in a process that is to fork: none of them takes hold of a GPU.

    bitsandbytes asks torch for each GPU's capability when it is imported. torch would open the GPUs to answer, and a
    fork of a process that did so cannot use them any more. The driver knows too.
    """
    gpus = _visible()
    if not gpus:
        yield
        return
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # whether there is one is asked of the driver, by torch itself
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
    """The GPUs that `CUDA_VISIBLE_DEVICES` leaves: by index or UUID, up to the first that is none, as CUDA reads it;
    and none at all if one is named twice. Indices count by the bus (`CUDA_DEVICE_ORDER`, see `flows`).
    """
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked in ("", "-1") or version("torch").endswith("+cpu"):
        return []
    gpus = _gpus()
    if asked is None:
        return gpus
    chosen: list[Gpu] = []
    for part in map(str.strip, asked.split(",")):
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
    """All of this machine, asked of the driver: under WSL and in containers too, which lack its /proc."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return []
    found: list[Gpu] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        with suppress(pynvml.NVMLError):  # of another's, or broken: CUDA does not see it either
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
            found.append(Gpu(name, uuid, (major, minor)))
    return found


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def threads(asked: int | None = None) -> int:
    """Threads torch will compute with: what was asked, else `OMP_NUM_THREADS`, else the cores we may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return asked or (int(given) if given.isdigit() and int(given) > 0 else cores())


def matmul_precision(asked: str = "auto") -> str:
    """What `torch.set_float32_matmul_precision` will be set to.

    `auto` is `medium` on CPUs: it selects the faster kernels (1.8 × here) and their error is still that of float32
    (8.7e-5 against 4.2e-5 on a layer). Where a CPU has AMX `medium` may compute in bfloat16, so there, and on GPUs,
    `auto` is `highest`.
    """
    if asked != "auto":
        return asked
    return "highest" if device() != "cpu" or _has_amx() else "medium"


def placed(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Where and how precisely a training computes on this machine.

    Args:
        asked: stage 1's `arguments.json`.

    Returns:
        `arguments` (with `bf16` where the device has it and no precision is given), `device`, `deterministic` (whether
        a GPU may use only kernels that give the same bits every time; a CPU always does), `threads` and
        `float32_matmul_precision`.
    """
    training = dict(asked["training"])
    where = "cpu" if training.get("use_cpu") else device()
    if where != "cpu" and not any(name in training for name in ("bf16", "fp16")):
        import torch

        training["bf16"] = torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "deterministic": training.pop("full_determinism", None) is not False and where != "cpu",
        "arguments": training,
        "device": where,
        "threads": threads(asked["torch_num_threads"]),
        "float32_matmul_precision": matmul_precision(asked["float32_matmul_precision"] or "auto"),
    }


def _has_amx() -> bool:
    return any("amx_bf16" in line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("flags"))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
