"""How near the memory a plan states is to the peak a run really reaches.

    python -m tests.benchmarks.memory [encoders] [decoders] [rewards]

Prints, for encoders of several widths, for a decoder with every task that trains one on answers, and for one that
learns from a reward model, whole and with LoRA: the plan's figure and the peak of the process, in MB. Exits with 1 if a
ratio is not within 25 % of 1.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.tiny import WORDS, make_chat, make_config, make_rows

SIZES = ((64, 2), (256, 4), (512, 8))  # width, layers
LENGTH, VOCABULARY, NEAR = 256, 32_000, 0.25
LABELLED = {"methods": {"labelled_logits": True}}
CHECKPOINTS = {"train": {"gradient_checkpointing": True}}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {}), "sft with labelled_logits": ("sft", LABELLED), "dpo": ("dpo", {}), "kto": ("kto", {}),
    "reward": ("reward", {}), "sft in bf16": ("sft", {"train": {"bf16": True}}),
    "dpo in bf16": ("dpo", {"train": {"bf16": True}}),
    "sft with gradient_checkpointing and labelled_logits": ("sft", LABELLED | CHECKPOINTS),
    "dpo with gradient_checkpointing": ("dpo", CHECKPOINTS),
}  # fmt: skip
SAMPLING = {"max_completion_length": 48, "num_generations": 2}
REWARDED: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {"rl": {**SAMPLING, "beta": 0.0}}),
    "grpo with a divergence": ("grpo", {"rl": {**SAMPLING, "beta": 0.1}}),
    "ppo": ("ppo", {"rl": SAMPLING}),
    "ppo with gradient_checkpointing": ("ppo", {"rl": SAMPLING, **CHECKPOINTS}),
}  # fmt: skip
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


def make_decoder(folder: Path, rewarding: bool = False) -> Path:
    """A random Llama with a chat template, and a vocabulary as large as usual of which its tokenizer uses little; or a
    reward model of its size."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    tokenizer: Any = AutoTokenizer.from_pretrained(make_chat(folder))
    tokenizer.model_max_length = LENGTH
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=384, num_hidden_layers=8, num_attention_heads=6, num_key_value_heads=2,
        intermediate_size=1024, max_position_embeddings=LENGTH, tie_word_embeddings=True, eos_token_id=0,
        pad_token_id=0, bos_token_id=None, **({"num_labels": 1} if rewarding else {}),
    )  # fmt: skip
    (LlamaForSequenceClassification if rewarding else LlamaForCausalLM)(config).save_pretrained(folder)
    return folder


def make_answers(path: Path, task: str, rows: int = 24) -> Path:
    """Prompts of 150 to 180 words with answers of 30 to 60."""
    draw = random.Random(0)

    def text(fewest: int, most: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(fewest, most)))

    with path.open("w") as file:
        for at in range(rows):
            row = {"prompt": text(150, 180)}
            if task in ("grpo", "ppo"):
                pass  # answered by the model
            elif task in ("dpo", "reward"):
                row |= {"chosen": text(30, 60), "rejected": text(30, 60)}
            else:
                row |= {"completion": text(30, 60)} | ({"label": bool(at % 2)} if task == "kto" else {})
            file.write(json.dumps(row) + "\n")
    return path


def of_encoders(folder: Path) -> Iterator[tuple[str, int, int]]:
    rows = make_rows(folder / "rows.csv", 200)
    for width, layers in SIZES:
        base = make_base(folder / f"bert-{width}", width, layers)
        for peft in ("none", "lora"):
            place = folder / f"{width}-{peft}"
            place.mkdir()
            more = {"peft__method": peft, "train__max_steps": 4, "train__per_device_train_batch_size": 32}
            yield (
                f"width {width}, {layers} layers, peft {peft}",
                *measure(make_config(base, rows, place / "store", **more), place),
            )


def of_decoders(folder: Path) -> Iterator[tuple[str, int, int]]:
    base = make_decoder(folder / "llama")
    for name, (task, more) in DECODERS.items():
        for peft in ("none", "lora"):
            place = folder / f"{name}-{peft}".replace(" ", "-")
            place.mkdir()
            rows = make_answers(place / "rows.jsonl", task)
            config = make_config(base, rows, place / "store", data__max_length=LENGTH, peft__method=peft)
            config["train"] |= {"max_steps": 2, "per_device_train_batch_size": 8} | more.get("train", {})
            config["data"]["split"] = {"validation": 0, "test": 0}
            yield f"{name}, peft {peft}", *measure({"task": task, **more, **config}, place)


def of_rewards(folder: Path) -> Iterator[tuple[str, int, int]]:
    base, judge = make_decoder(folder / "policy"), make_decoder(folder / "judge", rewarding=True)
    for name, (task, more) in REWARDED.items():
        for peft in ("none", "lora"):
            place = folder / f"{name}-{peft}".replace(" ", "-")
            place.mkdir()
            rows = make_answers(place / "rows.jsonl", task)
            config = make_config(base, rows, place / "store", data__max_length=LENGTH - 48, peft__method=peft)
            size = 8 // SAMPLING["num_generations"]
            config["train"] |= {"max_steps": 2, "per_device_train_batch_size": size} | more.get("train", {})
            config["data"]["split"] = {"validation": 0, "test": 0}
            rl = {"rl": {**more["rl"], "reward_model": str(judge)}}
            yield f"{name}, peft {peft}", *measure({"task": task, **more, **config, **rl}, place)


def main(kinds: list[str]) -> None:
    outside = []
    with tempfile.TemporaryDirectory(prefix="finetune-memory-") as folder:
        for kind in kinds or KINDS:
            for what, planned, peak in KINDS[kind](Path(folder)):
                print(f"{what}: planned {planned / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB, ratio {planned / peak:.2f}",
                      flush=True)  # fmt: skip
                outside += [what] if abs(planned / peak - 1) > NEAR else []
    if outside:
        sys.exit(f"not within {NEAR:.0%}: {'; '.join(outside)}")


KINDS = {"encoders": of_encoders, "decoders": of_decoders, "rewards": of_rewards}

if __name__ == "__main__":
    main(sys.argv[1:])
