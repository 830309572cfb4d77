"""What the pipeline costs beside the same work in plain Hugging Face code.

    python tests/benchmarks/overhead.py [--rounds 3] [--epochs 1 5]

Each round runs, interleaved, a short and a long training of the quickstart's job: as a plain script
(`tests/numerics/plain.py`: load, tokenize, train, evaluate every epoch, keep the best, save) and through
`finetune run` with a fresh store, with a server that already runs and with none. From the two lengths follow the
ratio of what grows with the work, and the start-up that does not:

    flow = start-up + ratio × plain

Goals: ratio at most 1.05 in wall and CPU seconds; start-up 5 s wall with a server, 8 s without (beyond plain's own).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
PRESET = ROOT / "deployments/presets/quickstart.yaml"


class Cost(NamedTuple):
    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs=2, default=(1, 5))
    options = parser.parse_args()
    from tasks.runtime.prefect_api.server import api

    with tempfile.TemporaryDirectory() as name, api() as server:
        folder = Path(name)
        files, model = prepare(folder)
        server.ready()
        found: dict[tuple[str, int], list[Cost]] = {}
        for round_ in range(options.rounds):
            for epochs in options.epochs:
                run = folder / f"{round_}-{epochs}"
                for kind in ("plain", "server", "alone"):
                    cost = (
                        plain(run, files, model, epochs)
                        if kind == "plain"
                        else flow(run / kind, epochs, kind, server.url)
                    )
                    found.setdefault((kind, epochs), []).append(cost)
                    print(
                        f"round {round_} {kind:>6} {epochs} epochs: {cost.wall:6.1f} s wall {cost.cpu:6.1f} s CPU",
                        flush=True,
                    )
        report(found, *options.epochs)


def prepare(folder: Path) -> tuple[dict[str, str], str]:
    """The quickstart's rows as CSV, split as the pipeline splits them, and the folder of its base."""
    import pyarrow.csv as csv

    from flows.api import plan
    from tasks.config import load
    from tasks.data.tables.arrow_file import open_table
    from tasks.models.bases.base import base_files

    loaded = load(PRESET, ["store.root=memory"])
    _, context = plan(loaded)
    rows = context.open(context.refs["s04_prepare"])
    labels = rows.json("labels.json")
    files = {}
    for split in ("train", "validation", "test"):
        table = open_table(rows.path(f"{split}.arrow")).select(["text", "label"])
        names = [labels[i] for i in table["label"].to_pylist()]
        files[split] = str(folder / f"{split}.csv")
        csv.write_csv(table.set_column(1, "label", [names]), files[split])
    return files, str(base_files(loaded.config.model)["config.json"].parent)


def plain(folder: Path, files: dict[str, str], model: str, epochs: int) -> Cost:
    from tasks.models.device import matmul_precision, threads

    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": model, "files": files, "cache": str(folder / "cache"), "output": str(folder / "plain"), "seed": 42,
        "threads": threads(), "float32_matmul_precision": matmul_precision(), "max_length": 64, "lora": None,
        "arguments": {
            "learning_rate": 2e-4, "num_train_epochs": epochs, "per_device_train_batch_size": 32,
            "per_device_eval_batch_size": 64, "weight_decay": 0.01, "warmup_steps": 0.06, "logging_steps": 10,
            "train_sampling_strategy": "group_by_length", "eval_strategy": "epoch", "save_strategy": "best",
            "load_best_model_at_end": True, "metric_for_best_model": "accuracy", "save_total_limit": 1,
        },
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    return measure([sys.executable, str(ROOT / "tests/numerics/plain.py"), str(folder / "settings.json")])


def flow(folder: Path, epochs: int, kind: str, url: str) -> Cost:
    command = [sys.executable, "-m", "flows.cli", "run", str(PRESET), "--json", "--store", str(folder / "store")]
    command += [f"output_dir={folder / 'model'}", f"train.num_train_epochs={epochs}"]
    return measure(command, {"PREFECT_API_URL": url} if kind == "server" else {})


def measure(command: list[str], environment: dict[str, str] | None = None) -> Cost:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    given = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | (environment or {})
    done = subprocess.run(command, capture_output=True, text=True, env=given, cwd=ROOT)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def report(found: dict[tuple[str, int], list[Cost]], short: int, long: int) -> None:
    print("\n| | ratio wall | ratio CPU | start-up wall | start-up CPU | whole long run, wall | CPU |")
    print("|---|---|---|---|---|---|---|")
    for kind in ("server", "alone"):
        cells = []
        for axis in (0, 1):
            rounds = range(len(found[kind, long]))
            pairs = [(found[kind, n][i][axis], found["plain", n][i][axis]) for i in rounds for n in (short, long)]
            slopes = [(pairs[2 * i + 1][0] - pairs[2 * i][0]) / (pairs[2 * i + 1][1] - pairs[2 * i][1]) for i in rounds]
            ratio = median(slopes)
            start = median(flow - ratio * plain for flow, plain in pairs)
            whole = median(found[kind, long][i][axis] / found["plain", long][i][axis] for i in rounds)
            cells.append((ratio, start, whole))
        (wall, wall_start, wall_whole), (cpu, cpu_start, cpu_whole) = cells
        ratios, whole = f"{wall:.3f} | {cpu:.3f}", f"{wall_whole:.3f} | {cpu_whole:.3f}"
        print(f"| {kind} | {ratios} | {wall_start:.1f} s | {cpu_start:.1f} s | {whole} |")


if __name__ == "__main__":
    main()
