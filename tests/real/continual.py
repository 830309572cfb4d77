"""What is forgotten of earlier tasks: `python -m tests.real.continual [strategy …]` (part of `make methods`).

MiniLM learns the topics of BBC's titles, then the questions of TREC, then the intents of banking77, each with a head of
its own, with each strategy and three seeds. Writes deployments/examples/CONTINUAL.md once all are there; finished
chains are kept in runs/continual.json, and are run again if their settings change.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tests.real.methods import SEEDS
from tests.real.table import DATA, EXAMPLES, ROOT

KEPT = ROOT / "runs" / "continual.json"
STRATEGIES: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "L2 to the start": {"methods": {"l2_to_start": {"weight": 0.1}}},
    "EWC": {"methods": {"ewc": {"ewc_lambda": 10000.0, "samples": 300}}},
    "rehearsal": {"methods": {"rehearsal": {"share": 0.1}}},
    "LoRA for each task": {"peft": {"method": "lora", "r": 8}, "start": "base", "train": {"learning_rate": 1e-3}},
}
TASKS = ("topics", "trec", "banking77")
PAGE = f"""# One task after another

MiniLM (22 million parameters) learns 1,000 rows of BBC's topics, then of TREC-6, then 2,000 of banking77, each with a
head of its own, with {len(SEEDS)} seeds. `python -m tests.real.continual` makes this page anew. Accuracy on the test
rows after the last task, and right after their own: mean and standard deviation over the seeds. Forgetting: best minus
last accuracy, the mean of the first two tasks. CPU seconds: of one thread, for the whole chain.

| strategy | {" | ".join(f"{name}, last (own)" for name in TASKS)} | average | forgetting | CPU seconds |
|---|---|---|---|---|---|---|
"""


def config(strategy: str, seed: int, place: Path) -> dict[str, Any]:
    """The chain of a strategy."""
    quickstart = yaml.safe_load((ROOT / "deployments" / "presets" / "quickstart.yaml").read_text())
    chosen = STRATEGIES[strategy]
    topics = quickstart["data"] if isinstance(quickstart["data"], dict) else {"train": quickstart["data"]}
    sets = {name: {"train": str(DATA / folder / "train.parquet"), "test": str(DATA / folder / "test.parquet")}
            for name, folder in (("trec", "trec6"), ("banking77", "banking77"))}  # fmt: skip
    tasks = [
        {"name": "topics", "data": {**topics, "max_train_samples": 1000, "split": {"test": 0.2, "validation": 0.0}}},
        {"name": "trec", "data": {**sets["trec"], "max_train_samples": 1000}},
        {
            "name": "banking77",
            "data": {**sets["banking77"], "max_train_samples": 2000},
            "train": {"num_train_epochs": 6},
        },
    ]
    train = {"learning_rate": 2e-4, "num_train_epochs": 3, "per_device_train_batch_size": 32, "torch_num_threads": 1}
    return {
        "model": quickstart["model"], "task": "text-classification", "seed": seed, "store": str(place / "store"),
        "data": {"max_length": 32, "split": {"validation": 0.0}, "leakage": "remove"},
        "train": train | chosen.get("train", {}),
        "eval": {"bootstrap": 0}, "continual": {"tasks": tasks, "start": chosen.get("start", "previous")},
        **{name: value for name, value in chosen.items() if name in ("methods", "peft")},
    }  # fmt: skip


def run(strategy: str, seed: int, place: Path) -> dict[str, Any]:
    """The chain's matrix and figures, and the CPU seconds of its process."""
    file = place / f"{strategy}-{seed}.yaml".replace(" ", "-")
    file.write_text(yaml.safe_dump(config(strategy, seed, place)))
    script = (
        "import json, sys, time\nfrom tasks.config import load_chain\nfrom flows.chain.execute import execute_chain\n"
    )
    script += "done = execute_chain(load_chain(sys.argv[1]))\n"
    script += "print(json.dumps({**done.matrix.to_json(), 'seconds': time.process_time()}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(file)], env=environment, check=True,
                          stdout=subprocess.PIPE, text=True, cwd=ROOT)  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def row(strategy: str, found: Sequence[Mapping[str, Any]]) -> str:
    """The chains of a strategy as a row of the table."""

    def spread(values: Sequence[float]) -> str:
        return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"

    cells = [strategy]
    for at in range(len(TASKS)):
        own = statistics.mean(each["matrix"][at][at] for each in found)
        cells.append(f"{spread([each['matrix'][-1][at] for each in found])} ({own:.3f})")
    cells += [spread([each[name] for each in found]) for name in ("average", "forgetting")]
    cells.append(f"{statistics.median(each['seconds'] for each in found):.0f}")
    return f"| {' | '.join(cells)} |"


def main(names: Sequence[str], place: Path) -> None:
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    KEPT.parent.mkdir(exist_ok=True)

    def settings(strategy: str, seed: int) -> Any:
        return json.loads(json.dumps({**config(strategy, seed, Path()), "store": None}))

    with ThreadPoolExecutor(2) as pool:
        wanted = [(name, seed) for seed in SEEDS for name in names or STRATEGIES
                  if kept.get(f"{name} {seed}", {}).get("settings") != settings(name, seed)]  # fmt: skip
        runs = {pool.submit(run, name, seed, place): (name, seed) for name, seed in wanted}
        for future, (name, seed) in runs.items():
            kept[f"{name} {seed}"] = {**future.result(), "settings": settings(name, seed)}
            KEPT.write_text(json.dumps(kept, indent=1))
            print(name, seed, json.dumps(kept[f"{name} {seed}"]["matrix"]), flush=True)
    if all(f"{name} {seed}" in kept for name in STRATEGIES for seed in SEEDS):
        rows = [row(name, [kept[f"{name} {seed}"] for seed in SEEDS]) for name in STRATEGIES]
        (EXAMPLES / "CONTINUAL.md").write_text(PAGE + "\n".join(rows) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1:], Path(folder))
