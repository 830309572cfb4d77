"""Lengths of rows in tokens: by the model's tokenizer, or estimated from words where it is not on this machine."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config import RunConfig
from tasks.execution.lint import encode_whole
from tasks.execution.sample import sampled
from tasks.models.bases.base import link, tokenizer_files
from tasks.models.bases.core_tokenizer import check_tokenizer, read_words
from tasks.objectives.base import Objective

# English has about 1.3 tokens a word; texts without spaces between words, about one token in 4 bytes.
TOKENS_A_WORD, BYTES_A_TOKEN, SPECIAL = 1.4, 4, 3


@dataclass(frozen=True)
class Tokenizer:
    """A model's tokenizer, and the longest row that the model takes."""

    words: Any
    longest: int


@dataclass(frozen=True)
class Lengths:
    """Tokens of each of some training rows, and of their targets if these are separate.

    Attributes:
        rows, targets: tokens of each row. scale: training rows for each of these. exact: whether they were tokenized.
    """

    rows: np.ndarray
    targets: np.ndarray | None
    scale: float
    exact: bool

    @property
    def how(self) -> str:
        """How they were counted, for comments."""
        return "by the model's tokenizer" if self.exact else "estimated from words, as the tokenizer is not read here"


def tokenizer_of(config: RunConfig) -> Tokenizer | None:
    """Return a model's tokenizer; None if reading it needs torch.

    Raises:
        ConfigError: there is no such model on this machine or the hub.
    """
    files = tokenizer_files(config.model)
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
        found = read_words(link(files, Path(scratch, "base")))
    return Tokenizer(*found) if found else None


def measure(rows: pa.Table, config: RunConfig, objective: Objective, tokenizer: Tokenizer | None) -> Lengths:
    """Return the lengths of a sample of training rows.

    Args:
        rows: prepared, columns named by their roles. config: with defaults filled in.

    Raises:
        ConfigError: the tokenizer lacks what the task needs.
    """
    some = sampled(rows)
    scale = rows.num_rows / some.num_rows
    if tokenizer is None or "chat_template" in objective.needs:  # the core tokenizer has none
        inputs = [role.name for role in objective.roles if role.name not in ("label", "tags", "answers", "target")]
        targets = _estimated(some, ["target"]) if "target" in some.column_names else None
        return Lengths(_estimated(some, inputs), targets, scale, False)
    words = tokenizer.words
    check_tokenizer(words, objective.name, objective.needs)
    shape = {name: getattr(config.data, name) for name in objective.shape}
    special = sorted({*words.all_special_ids} - {words.unk_token_id})
    encoded = encode_whole(objective, some, words, {**shape, "special_ids": special}).table
    apart = encoded["labels"] if "max_target_length" in shape else None
    return Lengths(_tokens(encoded["input_ids"]), None if apart is None else _tokens(apart), scale, True)


def _tokens(column: Any) -> np.ndarray:
    return column.combine_chunks().value_lengths().to_numpy()


def _estimated(rows: pa.Table, roles: Sequence[str]) -> np.ndarray:
    total = np.full(rows.num_rows, float(SPECIAL))
    for name in set(roles) & set(rows.column_names):
        column = rows[name]
        if pa.types.is_string(column.type):
            words = pc.fill_null(pc.add(pc.count_substring_regex(column, r"\s+"), 1), 0).to_numpy()
            size = pc.fill_null(pc.binary_length(column), 0).to_numpy()
            total += np.maximum(TOKENS_A_WORD * words, size / BYTES_A_TOKEN)
        elif pa.types.is_list(column.type):
            total += TOKENS_A_WORD * pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return np.ceil(total).astype(np.int64)
