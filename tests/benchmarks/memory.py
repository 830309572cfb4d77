"""How near the memory a plan states is to the peak a run really reaches.

    python -m tests.benchmarks.memory

Prints, for models of several widths, trained whole and with LoRA: the plan's figure and the peak of the process, in MB.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.tiny import make_config, make_rows

SIZES = ((64, 2), (256, 4), (512, 8))  # width, layers
RUN = """
import json, resource, sys
from flows.pipeline import pipeline
from flows.api import plan
from tasks.config import load
from tasks.execution.execute import execute
from tasks.execution.estimate import estimate

loaded = load(json.load(open(sys.argv[1])))
if sys.argv[2] == "plan":
    print(estimate(*plan(loaded)).memory)
else:
    execute(loaded.config, pipeline)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def make_base(folder: Path, width: int, layers: int) -> Path:
    """A random BERT with the tokenizer of the tiny one."""
    from transformers import BertConfig, BertModel

    from tests.tiny import make_bert

    words = json.loads((make_bert(folder) / "config.json").read_text())["vocab_size"]
    config = BertConfig(
        vocab_size=words, hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 32,
        intermediate_size=4 * width, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def measure(config: dict[str, Any], place: Path) -> tuple[int, int]:
    """Bytes as planned, and at the peak, each asked in a process of its own."""
    (place / "run.json").write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = [
        subprocess.run([sys.executable, "-c", RUN, str(place / "run.json"), what], env=environment, check=True,
                       stdout=subprocess.PIPE, text=True).stdout
        for what in ("plan", "run")
    ]  # fmt: skip
    planned, peak = (int(each.splitlines()[-1]) for each in said)
    return planned, peak


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="finetune-memory-") as folder:
        rows = make_rows(Path(folder) / "rows.csv", 200)
        for width, layers in SIZES:
            base = make_base(Path(folder) / f"bert-{width}", width, layers)
            for peft in ("none", "lora"):
                place = Path(folder) / f"{width}-{peft}"
                place.mkdir()
                more = {"peft__method": peft, "train__max_steps": 4, "train__per_device_train_batch_size": 32}
                planned, peak = measure(make_config(base, rows, place / "store", **more), place)
                print(f"width {width}, {layers} layers, peft {peft}: planned {planned / 1e6:.0f} MB, peak "
                      f"{peak / 1e6:.0f} MB, ratio {planned / peak:.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
