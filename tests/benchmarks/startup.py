"""How soon the command answers: `python tests/benchmarks/startup.py`.

Seconds of processor time, each as a multiple of starting Python in the same environment, so that machines compare.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
ROUNDS = 5
DEFECT = "text,label\n" + "".join(f"row {at},{'ab'[at % 2]}\n" for at in range(20)) + ",a\n"


def cpu(words: list[str], folder: Path) -> float:
    """CPU seconds of a command, the median of some rounds."""
    found = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return median(found)


def main() -> None:
    """Print a row for each way to start."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows.csv").write_text(DEFECT)
        config = {"model": "nobody/no-such-model", "data": {"train": "rows.csv"}, "store": {"root": "store"}}
        (folder / "run.yaml").write_text(json.dumps(config))
        python = cpu(["-c", "pass"], folder)
        print(f"starting Python: {python:.3f} s CPU")
        for what, words in {
            "import tasks.config": ["-c", "import tasks.config"],
            "finetune --help": ["-m", "flows.cli", "--help"],
            "finetune run --help": ["-m", "flows.cli", "run", "--help"],
            "finetune lint, a bad row": ["-m", "flows.cli", "lint", "run.yaml"],
            "finetune plan, no such model": ["-m", "flows.cli", "plan", "run.yaml"],
        }.items():
            took = cpu(words, folder)
            print(f"{what}: {took:.2f} s CPU, {took / python:.0f} x Python")


if __name__ == "__main__":
    main()
