"""What a model says of every row of a token table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from tasks.data.rows import TokenRows


def predict(
    model: PreTrainedModel,
    rows: TokenRows,
    collate: Callable[..., Mapping[str, torch.Tensor]],
    batch_size: int,
    autocast: torch.dtype | None = None,
) -> tuple[np.ndarray, float]:
    """Run `model` over `rows`, longest first (the least padding), and put the results back in order.

    Returns:
        logits, float32 of shape (rows, …), and the mean loss over rows.
    """
    lengths = np.asarray(rows.lengths())
    order = np.argsort(-lengths, kind="stable")
    device = next(model.parameters()).device
    model.eval()
    logits: list[Any] = [None] * len(rows)
    total = 0.0
    with torch.inference_mode(), torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
        for start in range(0, len(rows), batch_size):
            chosen = order[start : start + batch_size]
            batch = {name: tensor.to(device) for name, tensor in collate([rows[int(i)] for i in chosen]).items()}
            output = model(**batch)
            total += float(output.loss) * len(chosen)
            for index, row in zip(chosen, output.logits.float().cpu().numpy(), strict=True):
                logits[int(index)] = row
    return np.stack(logits), total / len(rows)


def predictions(rows: pa.Table, logits: np.ndarray, names: Sequence[str]) -> pa.Table:
    """What was predicted for each row, beside what was right and where the row came from.

    Returns:
        `__file`, `__row`, `label` and `prediction` (class names), `probabilities` (list of float32, by class id).
    """
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = (exponents / exponents.sum(axis=-1, keepdims=True)).astype(np.float32)
    classes = pa.array(list(names))
    return pa.table(
        {
            "__file": rows["__file"],
            "__row": rows["__row"],
            "label": classes.take(rows["labels"].combine_chunks()),
            "prediction": classes.take(pa.array(logits.argmax(axis=-1))),
            "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(probabilities.ravel()), len(names)),
        }
    )
