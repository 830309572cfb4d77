"""Forgetting: how much worse a causal language model predicts held-out text after training than before.

The measure is the mean cross-entropy per token, before and after, on text that the training data does not resemble. See
Luo et al. 2023 (arXiv:2308.08747) and Biderman et al. 2024 (arXiv:2405.09673) on forgetting in fine-tuning.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tasks.artifacts.formats import json
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.collate import CausalBatch
from tasks.data.tokens.dataset import TokenRows
from tasks.data.tokens.encode import Encoded, Tokenizer
from tasks.data.tokens.encode_stream import encode_stream, merge_stream
from tasks.evaluation.attempt import attempt
from tasks.evaluation.host import Computing, Host
from tasks.evaluation.inference import predict_table
from tasks.evaluation.predictors.tokens import NextTokenPredictor

if TYPE_CHECKING:
    import torch

LENGTH, BATCH = 1024, 4  # tokens of a text, texts


def encode_texts(texts: pa.Table, tokenizer: Tokenizer, length: int) -> Encoded:
    """Tokenize the beginning of each text: at most `length` tokens, with the tokenizer's special tokens and without an
    end token."""
    shape = {"max_length": length, "overlong": "truncate", "merge": "none", "append_eos": False}
    encoded = encode_stream(texts, tokenizer, shape, "eval.forgetting.data", True)
    return merge_stream([encoded.table], shape, "eval.forgetting.data")


def mean_loss(
    model: "torch.nn.Module", tokens: pa.Table, processor: Mapping[str, Any], plan: Mapping[str, Any], scratch: Path,
    on_rows: Callable[[int, int], None],
) -> float:  # fmt: skip
    """Return the mean loss per token, in nats.

    Args:
        tokens: of `encode_texts`. plan: with device and precision. scratch: a file that is overwritten.
        on_rows: called with texts done and in total.
    """
    plan = {**plan, "arguments": {**plan["arguments"], "per_device_eval_batch_size": BATCH}}
    rows, predictor = TokenRows(tokens, processor), NextTokenPredictor({})
    loss = predict_table(model, rows, CausalBatch(processor), predictor, plan, scratch, on_rows)
    scratch.unlink()
    return loss


def forgotten(
    host: Host, computing: Computing, model: "torch.nn.Module", measured: Callable[[str], Path],
    processor: Mapping[str, Any], plan: Mapping[str, Any],
) -> dict[str, float]:  # fmt: skip
    """Return the metrics of the trained model, beside those of the model before training. An error is a warning, and
    leaves out what needs the trained one.

    Args:
        measured: returns a file of stage 7c: `tokens.arrow`, `before.json`. plan: see `mean_loss`.
    """
    tokens, before = open_table(measured("tokens.arrow")), json.read(measured("before.json"))["loss"]
    with computing("held-out texts after training") as on_rows:
        score = partial(mean_loss, model, tokens, processor, plan, host.out / "texts.arrow", on_rows)
        after = attempt("eval.forgetting", score, None, host.warn)
    losses = {"before": before, **({} if after is None else {"after": after})}
    found = {f"forgetting_loss_{when}": loss for when, loss in losses.items()}
    with np.errstate(over="ignore"):
        found |= {f"forgetting_perplexity_{when}": float(np.exp(loss)) for when, loss in losses.items()}
    return found if after is None else {**found, "forgetting": after - before}
