"""Which device a run will use, asked without importing torch (config checks, plans and keys must stay quick)."""

import os
from importlib.metadata import version
from pathlib import Path


def device() -> str:
    """`cuda:<names of the visible GPUs>`, or `cpu`."""
    if version("torch").endswith("+cpu") or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "cpu"
    infos = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [line.partition(":")[2].strip() for path in infos for line in _lines(path) if line.startswith("Model")]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible and all(part.isdigit() for part in visible.split(",")):
        models = [models[int(part)] for part in visible.split(",") if int(part) < len(models)]
    return f"cuda:{','.join(models)}" if models else "cpu"


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


def _has_amx() -> bool:
    return any("amx_bf16" in line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("flags"))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
