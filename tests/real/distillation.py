"""What distillation gives: `python -m tests.real.distillation` (part of `make methods`).

MiniLM (6 layers) is trained on TREC-6 with three seeds; a student with every second of its base's layers is trained
alone, and taught by it. Writes deployments/examples/DISTILLATION.md.
"""

import json
import re
import statistics
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tests.real.methods import SEEDS, Trained, train
from tests.real.table import EXAMPLES

LENGTHS: tuple[tuple[str, dict[str, Any]], ...] = (("", {}), (", twice the epochs", {"train": {"num_train_epochs": 6}}))
NAME, LAYERS = "trec", (0, 2, 4)
OPTIONS = {"temperature": 2.0, "alpha": 0.7}
PAGE = """# Distillation

MiniLM (6 layers) trained on 2,000 rows of TREC-6 is the teacher; the student has every second of its base's layers
(0, 2, 4). Each is trained with {seeds} seeds, the student once from the labels alone and once taught
(`methods: {{distillation: {{teacher: …, temperature: {temperature:g}, alpha: {alpha:g}}}}}`), also with
`hidden_states: 1`, for as many epochs as the teacher and for twice as many. `make methods` makes this page anew.
Accuracy on the test rows: mean and standard deviation. CPU seconds: of one thread, with evaluation and saving, and for
the taught also the teacher's answers.

| model | accuracy (test) | CPU seconds | disk (MB) |
|---|---|---|---|
"""


def make_student(base: Path, folder: Path) -> Path:
    """Write a model with some of a BERT's layers to `folder`."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    for path in base.iterdir():
        if path.suffix in (".json", ".txt") and path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": len(LAYERS)}
    (folder / "config.json").write_text(json.dumps(config))
    kept = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        layer = re.search(r"\.layer\.(\d+)\.", name)
        if layer is None:
            kept[name] = tensor
        elif int(layer[1]) in LAYERS:
            kept[name.replace(layer[0], f".layer.{LAYERS.index(int(layer[1]))}.")] = tensor
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def base_folder() -> Path:
    """Return the folder of the example's base."""
    from tasks.config import ModelConfig
    from tasks.models.bases.base import base_files

    name = yaml.safe_load((EXAMPLES / f"{NAME}.yaml").read_text())["model"]
    return base_files(ModelConfig(name=name))["model.safetensors"].parent


def main(place: Path) -> None:
    student: dict[str, Any] = {"model": str(make_student(base_folder(), place / "student"))}
    with ThreadPoolExecutor(2) as pool:

        def run(title: str, more: Mapping[str, Any], seed: int) -> Any:
            return pool.submit(train, NAME, more, seed, title, place)

        def taught(seed: int, **more: float) -> dict[str, Any]:
            options = {"teacher": str(place / "models" / f"teacher-{seed}"), **OPTIONS, **more}
            return {"methods": {"distillation": options}}

        teachers = [run("teacher", {}, seed) for seed in SEEDS]
        rows = {"teacher: 6 layers": teachers}
        for times, longer in LENGTHS:
            rows[f"3 layers alone{times}"] = [run(f"alone{times}", student | longer, seed) for seed in SEEDS]
        for each in teachers:
            each.result()
        for times, longer in LENGTHS:
            for states, more in (("", {}), (", hidden states too", {"hidden_states": 1.0})):
                title = f"taught{states}{times}"
                rows[f"3 layers {title}"] = [
                    run(title, student | longer | taught(seed, **more), seed) for seed in SEEDS
                ]
        text = PAGE.format(seeds=len(SEEDS), **OPTIONS)
        for title, runs in rows.items():
            text += row(title, [each.result() for each in runs]) + "\n"
            print(text.splitlines()[-1], flush=True)
    (EXAMPLES / "DISTILLATION.md").write_text(text)


def row(title: str, found: list[Trained]) -> str:
    metrics = [each.metric for each in found]
    seconds, disk = (statistics.median(getattr(each, name) for each in found) for name in ("seconds", "disk"))
    return (f"| {title} | {statistics.mean(metrics):.3f} ± {statistics.stdev(metrics):.3f} | {seconds:.0f} | "
            f"{disk / 1e6:.1f} |")  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
