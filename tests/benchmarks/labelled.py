"""What `methods.labelled_logits` saves: updates of a masked language model with 15 % of its tokens labelled.

    python -m tests.benchmarks.labelled [--steps 5]

Each way is a process of its own; prints seconds an update, the peak above what the model itself takes, and the ratios.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

BATCH, LENGTH, WORDS = 16, 128, 30_522


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--way", choices=("all", "labelled"))
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options.way == "labelled", options.steps)))
        return
    found = {}
    for way in ("all", "labelled"):
        command = [sys.executable, "-m", "tests.benchmarks.labelled", "--way", way, "--steps", str(options.steps)]
        found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"logits of {way} tokens: {found[way]['seconds']:.2f} s an update, {found[way]['bytes'] / 1e6:.0f} MB")
    ratios = (found["labelled"][name] / found["all"][name] for name in ("seconds", "bytes"))
    print("ratio: {:.2f} of the time, {:.2f} of the memory".format(*ratios))


def measured(labelled: bool, steps: int) -> dict[str, float]:
    """Median seconds of an update, and bytes of the peak above the model and its gradients."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from tasks.training.methods import METHODS

    torch.manual_seed(0)
    model: Any = BertForMaskedLM(BertConfig(vocab_size=WORDS, hidden_size=384, num_hidden_layers=6,
                                            num_attention_heads=12, intermediate_size=1536)).train()  # fmt: skip
    plan = {"cross_entropy": "vocabulary", "arguments": {}}
    hook: Any = METHODS["labelled_logits"].make({}, model, plan)
    tokens = torch.randint(5, WORDS, (BATCH, LENGTH))
    labels = torch.where(torch.rand(tokens.shape) < 0.15, tokens, -100)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before, seconds = peak(), []
    for _ in range(steps):
        started = time.perf_counter()
        inputs = {"input_ids": tokens, "labels": labels}
        loss = hook.forward(model, inputs, None)[0] if labelled else model(**inputs).loss
        loss.backward()
        seconds.append(time.perf_counter() - started)
    return {"seconds": median(seconds), "bytes": peak() - before}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
