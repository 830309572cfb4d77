"""Check that an exported model computes what the trained one does, on rows of the run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tasks.artifacts.artifact import Artifact
from tasks.config.errors import ConfigError
from tasks.data.tokens.token_rows import tokens_of
from tasks.inference.saved_model import Saved
from tasks.objectives import objective_of

ROWS = 4
LENGTH = 16  # tokens of a row that is made up
SPLITS = ("test", "validation", "train")
# The largest difference of logits, as a share of the largest logit.
BOUNDS = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
Batch = Mapping[str, torch.Tensor]
Logits = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """A batch, and what it is in words: `8 rows of test`."""

    batch: Batch
    what: str


def rows_of(saved: Saved, tokens: Artifact | None) -> Rows:
    """Return the first token rows of test, validation or train; made-up ones if the store no longer has them."""
    for split in SPLITS if tokens else ():
        assert tokens is not None
        if (table := tokens_of(tokens.paths(f"{split}-"))) is not None and table.num_rows:
            objective, few = objective_of(saved.task), table.slice(0, ROWS)
            view = objective.component("view")(few, saved.processor, saved.seed, saved.options)
            batch = objective.component("collate")(saved.processor)([view[at] for at in range(few.num_rows)])
            return Rows(batch, f"{few.num_rows} rows of {split}")
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(saved.processor["vocab_size"], (ROWS, LENGTH), generator=draw)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if saved.task == "sequence-sequence":
        batch["labels"] = ids
    return Rows(batch, f"{ROWS} made-up rows (the run's own are not in the store)")


def logits_of(model: Any, batch: Batch) -> Logits:
    """Return the model's logits by name, in float32."""
    with torch.inference_mode():
        found = model(**batch, return_dict=True)
    return {name: value.float() for name, value in found.items() if "logits" in name}


def check(
    what: str, dtypes: Iterable[str], rows: Rows, expected: Logits, found: Logits, info: Callable[[str], None]
) -> float:
    """Compare logits; return their largest difference, as a share of the largest logit.

    Args:
        what: the option, for messages. dtypes: in which the two were computed.

    Raises:
        ConfigError: it exceeds the bound of the less precise type.
    """
    apart = max(float((expected[name] - found[name]).abs().max() / expected[name].abs().max()) for name in expected)
    bound = max(BOUNDS[dtype] for dtype in dtypes)
    line = f"on {rows.what} its logits differ from the trained model's by {apart:.1e} of the largest (bound {bound:g})"
    if not apart <= bound:  # also if it is not a number
        raise ConfigError(f"{what}: {line}; nothing was written")
    info(f"{what}: {line}")
    return apart
