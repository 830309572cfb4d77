"""What deterministic kernels cost on a GPU: updates of an encoder and a decoder of BERT-base's size, with and without.

    python -m tests.benchmarks.determinism [--rounds 5] [--steps 30]

Both ways take turns in one process; the ratio of their medians is printed.
"""

import argparse
import os
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
BATCH, LENGTH, WORDS = 32, 128, 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    import torch

    for name, model in models().items():
        model = model.cuda().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
        batch = inputs(name)
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for round_ in range(options.rounds + 1):
            for deterministic in seconds:
                torch.use_deterministic_algorithms(deterministic)
                took = timed(model, optimizer, batch, options.steps)
                if round_:  # the first warms up
                    seconds[deterministic].append(took / options.steps)
        slow, fast = median(seconds[True]), median(seconds[False])
        print(f"{name}: {slow * 1e3:.2f} ms an update, {fast * 1e3:.2f} ms without: ratio {slow / fast:.3f}")


def models() -> Mapping[str, Any]:
    from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

    llama = LlamaConfig(vocab_size=WORDS, hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
                        num_attention_heads=12, num_key_value_heads=4)  # fmt: skip
    return {"encoder": BertForSequenceClassification(BertConfig(vocab_size=WORDS)), "decoder": LlamaForCausalLM(llama)}


def inputs(name: str) -> Mapping[str, Any]:
    import torch

    tokens = torch.randint(5, WORDS, (BATCH, LENGTH), device="cuda")
    mask = torch.ones_like(tokens)
    mask[: BATCH // 2, LENGTH * 3 // 4 :] = 0  # half the rows are padded
    labels = tokens if name == "decoder" else torch.randint(0, 2, (BATCH,), device="cuda")
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}


def timed(model: Any, optimizer: Any, batch: Mapping[str, Any], steps: int) -> float:
    """Seconds of `steps` updates in bf16."""
    import torch

    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
