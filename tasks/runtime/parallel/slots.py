"""Limit how many trainings share a device: each holds a slot, a kernel file lock.

A slot is released when its holder ends for any reason. Slots belong to the machine, so concurrent sweeps share them.
"""

import os
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasks.artifacts.lease import POLL, claim
from tasks.models import device


def slots_folder() -> Path:
    """Return the temporary folder of this user's slots on this machine."""
    return Path(tempfile.gettempdir()) / f"finetune-slots-{os.getuid()}"


@contextmanager
def slot(counts: Mapping[str, int], waiting: Callable[[], None], folder: Path | None = None) -> Generator[str]:
    """Hold a slot of one of the devices; yield the device.

    Args:
        counts: slots of each device. waiting: called once if all are held.
    """
    places = [(name, nth) for nth in range(max(counts.values())) for name in counts if nth < counts[name]]
    reported = False
    while True:
        for name, nth in places:
            with ExitStack() as stack:
                path = (folder or slots_folder()) / f"{name}-{nth}.lock"
                if stack.enter_context(claim(path)):
                    yield name
                    return
        if not reported:
            waiting()
            reported = True
        time.sleep(POLL)


def devices(parallel: int | None, threads: int | None) -> dict[str, int]:
    """Return the slots of each device of this machine: `{"cuda-0": 1, …}` or `{"cpu": 2}`.

    Args:
        parallel: concurrent cells on each device, if configured. threads: of each cell, if configured.
    """
    found = device.device()
    if found != "cpu":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(found.count(",") + 1)))
        return {f"cuda-{each.strip()}": parallel or 1 for each in visible.split(",")[: found.count(",") + 1]}
    # Two: one computes while the other reads or saves; their threads wait passively.
    return {"cpu": parallel or max(1, device.cores() // threads if threads else min(2, device.cores()))}
