"""What instruction tuning and learning from preferences give: `python -m tests.real.alignment [sft] [dpo] [reward]`.

SmolLM2-135M-Instruct with LoRA, three seeds each. Writes deployments/examples/ALIGNMENT.md once all are there; finished
runs are kept in runs/alignment.json, and are measured again if their settings change.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from tests.real.methods import RUN, SEEDS
from tests.real.table import EXAMPLES, ROOT, overrides

KEPT = ROOT / "runs" / "alignment.json"
LENGTH = 256  # tokens; longer answers are cut, so that all pairs are used
SETTINGS: Mapping[str, dict[str, Any]] = {
    "sft": {"data": {"max_train_samples": 320}, "train": {"num_train_epochs": 1}},
    "dpo": {"train": {"num_train_epochs": 1, "learning_rate": 2e-4}},
    "reward": {"train": {"num_train_epochs": 2}},
}
STANDING = {"learning_rate": 0.0, "max_steps": 1}  # a new LoRA changes nothing: the base
SHOWN = {"sft": ("loss", "perplexity"), "dpo": ("accuracy", "margin"), "reward": ("accuracy", "margin")}
PAGE = f"""# Instruction tuning and preferences

SmolLM2-135M-Instruct with LoRA (r 8, bf16), {len(SEEDS)} seeds each: `sft` on 320 rows of Alpaca's form, scored on
101 others; `dpo` and `reward` on 240 pairs of answers, scored on 60 others (validation and test), each row cut at
{LENGTH} tokens. `python -m tests.real.alignment` makes this page anew. Mean and standard deviation; before: the base
(chance, for pairs). CPU seconds: of one thread, with evaluation and saving.

| training | metric | before | after | each seed | CPU seconds |
|---|---|---|---|---|---|
"""


def train(name: str, seed: int, place: Path, more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Train an example in a process of its own; its metrics and CPU seconds."""
    config = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    for each in overrides(name, place):
        field, _, value = each.partition("=")
        section, _, entry = field.partition(".")
        config[section][entry] = value
    config["data"] |= {"max_length": LENGTH, "overlong": "truncate", **SETTINGS[name].get("data", {})}
    if name != "sft":
        config["data"]["validation"] = str(Path(config["data"]["test"]).parent / "validation.parquet")
        del config["data"]["split"]
    config["train"] |= {"torch_num_threads": 1, **SETTINGS[name]["train"], **more}
    config |= {"seed": seed, "store": str(place / "store"), "eval": {"samples": 0}}
    written = place / f"{name}-{seed}.json"
    written.write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", RUN, str(written)], env=environment, check=True,
                          stdout=subprocess.PIPE, text=True, cwd=ROOT)  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return {"metrics": found["metrics"], "seconds": found["seconds"]}


def before(name: str, place: Path) -> dict[str, float]:
    """The base's metrics on held-out rows; of pairs, chance."""
    if name != "sft":
        return {"accuracy": 0.5, "margin": 0.0}
    return {metric: value(name, metric, train(name, 0, place, STANDING)["metrics"]) for metric in SHOWN[name]}


def value(name: str, metric: str, metrics: Mapping[str, float]) -> float:
    """A run's metric on its held-out rows: of pairs, the mean over those of validation and test, which are as many."""
    if name == "sft":
        return metrics[f"test_{metric}"]
    return statistics.mean(metrics[f"{split}_{metric}"] for split in ("eval", "test"))


def rows(name: str, kept: Mapping[str, Any]) -> str:
    text, runs = "", [kept[f"{name} {seed}"] for seed in SEEDS]
    seconds = statistics.median(run["seconds"] for run in runs)
    for metric in SHOWN[name]:
        found = [value(name, metric, run["metrics"]) for run in runs]
        each, start = ", ".join(f"{one:.3f}" for one in found), kept[f"{name} before"][metric]
        mean = f"{statistics.mean(found):.3f} ± {statistics.stdev(found):.3f}"
        text += f"| [{name}]({name}.yaml) | {metric} | {start:.3f} | {mean} | {each} | {seconds:.0f} |\n"
    return text


def main(names: list[str], place: Path) -> None:
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    KEPT.parent.mkdir(exist_ok=True)
    for seed in SEEDS:
        for name in names or SETTINGS:
            settings = [SETTINGS[name], (EXAMPLES / f"{name}.yaml").read_text(), LENGTH]
            if kept.get(f"{name} {seed}", {}).get("settings") != settings:
                kept[f"{name} {seed}"] = {**train(name, seed, place), "settings": settings}
                kept.setdefault(f"{name} before", before(name, place))
                KEPT.write_text(json.dumps(kept, indent=1))
                print(name, seed, json.dumps(kept[f"{name} {seed}"]), flush=True)
    if all(f"{name} {seed}" in kept for name in SETTINGS for seed in SEEDS):
        (EXAMPLES / "ALIGNMENT.md").write_text(PAGE + "".join(rows(name, kept) for name in SETTINGS))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1:], Path(folder))
