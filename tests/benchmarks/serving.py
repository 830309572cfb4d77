"""How soon a served run reacts: `python -m tests.benchmarks.serving`.

Starts `finetune serve` and prints seconds of wall time: from Cancel to Cancelled, from a killed process to Crashed,
from a killed worker to Crashed (an automation misses the heartbeats), from Ctrl-C to the end of `finetune serve`.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.served import SILENCE, Served, in_training, parameters, serving, until
from tests.tiny import make_bert, make_rows

ENDLESS = 100_000  # steps


def main() -> None:
    """Print a line for each reaction."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="finetune-serving-") as folder:
        place = Path(folder)
        bert, rows = make_bert(place / "bert"), make_rows(place / "rows.csv")
        with serving(place) as served:

            def training(name: str) -> str:
                """Start an endless run; return its id once it trains."""
                store = place / name
                run = served.create(parameters(bert, rows, store, ENDLESS))
                in_training(store)
                return run

            run = training("cancelled")
            cancel = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
            served.call(f"/flow_runs/{run}/set_state", cancel)
            seconds("Cancel → Cancelled", lambda: served.state(run)[0] == "Cancelled")
            until(lambda: served.free_places() == 1)
            run = training("killed")
            served.engine().kill()
            seconds("process killed → Crashed", lambda: served.state(run)[0] == "Crashed")
            until(lambda: served.free_places() == 1)
            run = training("lost")
            lose(served)
            seconds(f"worker killed → Crashed (silence: {SILENCE} s)", lambda: served.state(run)[0] == "Crashed")
            served.serve()
            until(lambda: served.free_places() == 1)
            training("stopped")
            started = time.monotonic()
            served.stop()
            print(f"Ctrl-C → `finetune serve` has ended: {time.monotonic() - started:.1f} s")


def lose(served: Served) -> None:
    """Kill the worker, then the run it carries out."""
    assert served.process is not None
    engine = served.engine()
    served.process.kill()
    engine.kill()
    served.process.wait()


def seconds(what: str, reached: Callable[[], Any]) -> None:
    """Print how long it takes until something is reached."""
    started = time.monotonic()
    until(reached)
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
