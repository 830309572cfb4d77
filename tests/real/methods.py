"""What each way of training costs and gives: `make methods` (or with names: `python -m tests.real.methods trec LoRA`).

Trains MiniLM on two real sets (see tests/real/table.py) with three seeds each. Writes deployments/examples/METHODS.md
when all rows are there. Finished rows are kept in runs/methods.json and measured again if their settings change;
remove the file to measure all.
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
OF_RSLORA = {"train": {"learning_rate": 3e-4}}  # scales by alpha / sqrt(r), not alpha / r: diverges with 1e-3
METHODS: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "head only": {"methods": {"freeze": {"layers": 6, "embeddings": True}}, "train": {"learning_rate": 1e-2}},
    "top half (freeze: 3)": {"methods": {"freeze": {"layers": 3, "embeddings": True}}},
    "gradual unfreezing": {"methods": {"unfreeze": "0.3 epochs"}},
    "layer-wise rates": {"methods": {"layerwise_lr_decay": 0.95}},
    "LoRA": {"peft": {"method": "lora", "r": 8}, **OF_ADAPTERS},
    "rsLoRA": {"peft": {"method": "lora", "r": 8, "use_rslora": True}, **OF_RSLORA},
    "DoRA": {"peft": {"method": "lora", "r": 8, "use_dora": True}, **OF_ADAPTERS},
    "IA3": {"peft": {"method": "ia3"}, "train": {"learning_rate": 5e-3}},
    "bottleneck": {"peft": {"method": "bottleneck"}, **OF_ADAPTERS},
    "NF4 + LoRA": {"peft": {"method": "lora", "r": 8}, "quant": {"load_in_4bit": True}, **OF_ADAPTERS},
}
KEPT = ROOT / "runs" / "methods.json"
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
planned = plan(loaded)
share = estimate(*planned).trainable / planned[1].read("s06_model", "size.json")["parameters"]
print(json.dumps({"metrics": done.metrics, "peak": peak, "seconds": seconds, "share": share}))
"""


@dataclass(frozen=True)
class Trained:
    """One run: its metric on test rows, CPU seconds and peak bytes, trained share, bytes of saved weights."""

    metric: float
    seconds: float
    peak: int
    share: float
    disk: int


def train(name: str, more: Mapping[str, Any], seed: int, title: str, place: Path) -> Trained:
    """Train an example in a process of its own.

    Args:
        name: of the example. more: sections that replace its own; `train` is added to its. title: of the run, and the
            name of its folder in `place / "models"`.
    """
    config = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    for each in overrides(name, place):
        field, _, value = each.partition("=")
        section, _, entry = field.partition(".")
        config[section][entry] = value
    out = place / "models" / f"{title}-{seed}"
    config |= {**more, "train": config["train"] | more.get("train", {}), "seed": seed, "store": str(place / "store"),
               "output_dir": str(out), "name": f"{title} {seed}"}  # fmt: skip
    config["data"]["max_train_samples"] = ROWS
    config["train"]["torch_num_threads"] = 1  # two run side by side
    written = place / f"{title}-{seed}.json".replace(" ", "-")
    written.write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", RUN, str(written)], env=environment,
                          check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return Trained(
        found["metrics"][f"test_{REAL[name].metric}"], found["seconds"], found["peak"], found["share"],
        sum(each.stat().st_size for each in out.glob("*.safetensors")),
    )  # fmt: skip


def row(method: str, found: Sequence[Trained]) -> str:
    """The trainings of a method with several seeds as a row of the table."""
    metrics = [each.metric for each in found]
    middle = [statistics.median(getattr(each, name) for each in found) for name in ("seconds", "peak", "disk")]
    cells = [
        method, f"{statistics.mean(metrics):.3f} ± {statistics.stdev(metrics):.3f}",
        f"{found[0].share:.2%}", f"{middle[0]:.0f}", f"{middle[1] / 1e6:.0f}", f"{middle[2] / 1e6:.2f}",
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


def settings(name: str, method: str) -> dict[str, Any]:
    """What a row depends on: the example's config, the method's, the seeds and the number of rows."""
    return {
        "example": (EXAMPLES / f"{name}.yaml").read_text(),
        "method": METHODS[method],
        "seeds": [*SEEDS],
        "rows": ROWS,
    }


def measure(wanted: Sequence[tuple[str, str]], kept: dict[str, Any], place: Path) -> None:
    """Train with the methods that have no kept row, two runs at a time; each finished row is kept at once."""
    with ThreadPoolExecutor(2) as pool:
        runs = {
            (name, method): [pool.submit(train, name, METHODS[method], seed, f"{name} {method}", place)
                             for seed in SEEDS]
            for name, method in wanted
        }  # fmt: skip
        for (name, method), seeds in runs.items():
            made = row(method, [each.result() for each in seeds])
            print(name, made, flush=True)
            kept[f"{name} {method}"] = {"settings": settings(name, method), "row": made}
            KEPT.parent.mkdir(exist_ok=True)
            KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False))


def page(kept: Mapping[str, Any]) -> str:
    text = HEAD
    for name in SETS:
        task = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["task"]
        text += f"\n## {name} ({task})\n" + COLUMNS.format(metric=f"{REAL[name].metric} (test)")
        text += "".join(kept[f"{name} {method}"]["row"] + "\n" for method in METHODS)
    return text


def main(names: Sequence[str], place: Path) -> None:
    unknown = [name for name in names if name not in (*SETS, *METHODS)]
    if unknown:
        sys.exit(f"{unknown[0]} is none of {', '.join((*SETS, *METHODS))}")
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    every = [(name, method) for name in SETS for method in METHODS]

    def missing(name: str, method: str) -> bool:
        return kept.get(f"{name} {method}", {}).get("settings") != settings(name, method)

    chosen = [(name, method) for name, method in every
              if name in ({*names} & {*SETS} or SETS) and method in ({*names} & {*METHODS} or METHODS)]  # fmt: skip
    measure([each for each in chosen if missing(*each)], kept, place)
    if not any(missing(*each) for each in every):
        (EXAMPLES / "METHODS.md").write_text(page(kept))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1:], Path(folder))
