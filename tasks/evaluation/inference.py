"""Run a model on every row of a token table, outside training."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.data.tokens.dataset import TokenRows
from tasks.evaluation.predictor import Predictor, predict_batches

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def predict_table(
    model: torch.nn.Module,
    rows: TokenRows,
    collate: Callable[..., Mapping[str, torch.Tensor]],
    predictor: Predictor,
    plan: Mapping[str, Any],
    out: Path,
    on_rows: Callable[[int, int], None] = lambda done, of: None,
) -> float:
    """Predict all `rows`, longest first (least padding), and write the predictions to `out` in the rows' order.

    Args:
        plan: with `arguments` (batch size, precision) and `device`.
        on_rows: called with rows done and in total.

    Returns:
        The mean loss.
    """
    arguments = plan["arguments"]
    if plan["device"] != "cpu" and not getattr(model, "is_quantized", False):
        model = model.to("cuda")
    autocast = next((dtype for name, dtype in PRECISIONS.items() if arguments.get(name)), None)
    size = arguments.get("per_device_eval_batch_size") or 8
    order = np.argsort(-np.asarray(rows.lengths()), kind="stable")
    device = next(model.parameters()).device

    def batches() -> Iterator[tuple[np.ndarray, Mapping[str, torch.Tensor]]]:
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            batch = collate([rows[int(i)] for i in chosen])
            yield chosen, {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}
            on_rows(min(start + size, len(order)), len(order))

    model.eval()
    with torch.inference_mode(), torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
        return predict_batches(model, batches(), predictor, rows.table, out)
