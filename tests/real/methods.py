"""What each way of training costs and gives: `make methods` (or with names: `python -m tests.real.methods trec LoRA`).

Trains MiniLM on two real sets (see tests/real/table.py) with three seeds each. Writes deployments/examples/METHODS.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.real.table import EXAMPLES, REAL, ROOT, overrides

SETS = ("trec", "wnut17")
SEEDS = (0, 1, 2)
ROWS = 2000  # of the training rows, so that the table is made within an hour
OF_ADAPTERS = {"train": {"learning_rate": 1e-3}}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "head only": {"methods": {"freeze": {"layers": 6, "embeddings": True}}, "train": {"learning_rate": 1e-2}},
    "top half (freeze: 3)": {"methods": {"freeze": {"layers": 3, "embeddings": True}}},
    "gradual unfreezing": {"methods": {"unfreeze": "0.3 epochs"}},
    "layer-wise rates": {"methods": {"layerwise_lr_decay": 0.95}},
    "LoRA": {"peft": {"method": "lora", "r": 8}, **OF_ADAPTERS},
    "rsLoRA": {"peft": {"method": "lora", "r": 8, "use_rslora": True}, **OF_ADAPTERS},
    "DoRA": {"peft": {"method": "lora", "r": 8, "use_dora": True}, **OF_ADAPTERS},
    "IA3": {"peft": {"method": "ia3"}, "train": {"learning_rate": 5e-3}},
    "bottleneck": {"peft": {"method": "bottleneck"}, **OF_ADAPTERS},
    "NF4 + LoRA": {"peft": {"method": "lora", "r": 8}, "quant": {"load_in_4bit": True}, **OF_ADAPTERS},
}
RUN = """
import json, resource, sys, time
from flows.api import plan
from flows.pipeline import pipeline
from tasks.config import load
from tasks.execution.estimate import estimate
from tasks.execution.execute import execute

loaded = load(json.load(open(sys.argv[1])))
started = time.process_time()
done = execute(loaded.config, pipeline)
seconds = time.process_time() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
costs = estimate(*plan(loaded))
print(json.dumps({"metrics": done.metrics, "peak": peak, "seconds": seconds, "trainable": costs.trainable}))
"""


@dataclass(frozen=True)
class Trained:
    """One run: its metric on test rows, CPU seconds and peak bytes, trained parameters, bytes of saved weights."""

    metric: float
    seconds: float
    peak: int
    trainable: int
    disk: int


def train(name: str, method: str, seed: int, place: Path) -> Trained:
    """Train an example with a method in a process of its own, after another one has prepared its rows."""
    config = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    for each in overrides(name, place):
        field, _, value = each.partition("=")
        section, _, entry = field.partition(".")
        config[section][entry] = value
    more = METHODS[method]
    out = place / "models" / f"{name}-{method}-{seed}"
    config |= {**more, "train": config["train"] | more.get("train", {}), "seed": seed, "store": str(place / "store"),
               "output_dir": str(out), "name": f"{name} {method} {seed}"}  # fmt: skip
    config["data"]["max_train_samples"] = ROWS
    config["train"]["torch_num_threads"] = 1  # two run side by side
    written = place / f"{name}-{method}-{seed}.json".replace(" ", "-")
    written.write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", RUN, str(written)], env=environment,
                          check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return Trained(
        found["metrics"][f"test_{REAL[name].metric}"], found["seconds"], found["peak"], found["trainable"],
        sum(each.stat().st_size for each in out.glob("*.safetensors")),
    )  # fmt: skip


def row(method: str, found: Sequence[Trained], full: int) -> str:
    """The trainings of a method with several seeds as a row of the table. full: the parameters of the whole model."""
    metrics = [each.metric for each in found]
    middle = [statistics.median(getattr(each, name) for each in found) for name in ("seconds", "peak", "disk")]
    cells = [
        method, f"{statistics.mean(metrics):.3f} ± {statistics.stdev(metrics):.3f}",
        f"{found[0].trainable / full:.2%}", f"{middle[0]:.0f}", f"{middle[1] / 1e6:.0f}", f"{middle[2] / 1e6:.2f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = f"""# Methods of training

MiniLM (22 million parameters) trained on {ROWS:,} rows of two real sets with each method and {len(SEEDS)} seeds, on two
CPU cores. `make methods` makes this page anew. Metric: on the test rows, mean and standard deviation over the seeds.
Trained: share of the model's parameters. CPU seconds: of training, evaluation and saving, with one thread.
Memory: the process's peak, of which about 730 MB are libraries. Disk: the saved weights.
"""
COLUMNS = """
| method | {metric} | trained | CPU seconds | memory (MB) | disk (MB) |
|---|---|---|---|---|---|
"""


def main(names: Sequence[str], place: Path) -> None:
    unknown = [name for name in names if name not in (*SETS, *METHODS)]
    if unknown:
        sys.exit(f"{unknown[0]} is none of {', '.join((*SETS, *METHODS))}")
    page = HEAD
    for name in [each for each in SETS if each in names] or SETS:
        task = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["task"]
        page += f"\n## {name} ({task})\n" + COLUMNS.format(metric=f"{REAL[name].metric} (test)")
        full = 0
        chosen = [each for each in METHODS if each in names] or [*METHODS]
        with ThreadPoolExecutor(2) as pool:
            runs = {method: [pool.submit(train, name, method, seed, place) for seed in SEEDS] for method in chosen}
            for method, seeds in runs.items():
                found = [each.result() for each in seeds]
                full = full or found[0].trainable
                page += row(method, found, full) + "\n"
                print(name, row(method, found, full), flush=True)
    if not names:
        (EXAMPLES / "METHODS.md").write_text(page)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1:], Path(folder))
