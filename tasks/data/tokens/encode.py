"""Tokenization of Arrow tables in batches, with the tokenizer's Rust core.

Contains what all tasks share, and the encoders of classification and prompts; those of other tasks are in `encode_…`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from tasks.config.errors import ConfigError, DataError
from tasks.data.messages import count, rows_at

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 4096
UNBOUNDED = 2**30

Tokenizer: TypeAlias = "PreTrainedTokenizerBase"

Shape = Mapping[str, Any]
"""The fields of `data` that encoders read: `max_length` (in tokens, including special ones), `overlong`, `stride`, …"""


@dataclass(frozen=True)
class Encoded:
    """Token rows.

    Attributes:
        table: list columns with one value per token, plain columns with one per row, and three of lineage: `__origin`
            (int64, position of the source row), `__file`, `__row`. Columns that begin with `__` are not passed to
            models. Masks are not stored: they follow from the lengths.
        overlong: number of data rows that were truncated, split into windows or dropped.
        dropped: number of data rows that were dropped.
        notices: about rows that a model cannot learn from.
        trained: number of trained tokens before overlong rows are cut or dropped, and of those that this removes; None
            if all tokens are trained.
    """

    table: pa.Table
    overlong: int = 0
    dropped: int = 0
    notices: tuple[str, ...] = ()
    trained: tuple[int, int] | None = None


def encode_text(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `text` (and `text_pair`) with their `label`.

    Args:
        rows: with columns `text`, maybe `text_pair`, `label`, and the lineage columns.
        tokenizer: a transformers tokenizer.
        shape: `max_length`, `overlong` and `stride`; pairs are cut longest first.
        field: the rows' field, for messages.
        labelled: whether the rows are for evaluation too.

    Returns:
        `input_ids` (list of int32), for pairs, if the model has segments, `token_type_ids` (list of int8),
        `labels` (int64, float32, or list of float32).

    Raises:
        DataError: `overlong` is `error` and there are overlong rows; names the rows.
    """
    pairs = "text_pair" in rows.column_names
    names = ["input_ids"] + ["token_type_ids"] * (pairs and "token_type_ids" in tokenizer.model_input_names)

    def texts(batch: pa.Table) -> list[Any]:
        firsts = batch["text"].to_pylist()
        return list(zip(firsts, batch["text_pair"].to_pylist(), strict=True)) if pairs else firsts

    found = Windows(names)
    for start, batch in batches(rows):
        for at, pieces in enumerate(encode_windows(tokenizer, texts(batch), shape, "longest_first")):
            found.add(start + at, pieces, shape["overlong"])
    found.refuse(rows, shape, field)
    known = "label" in rows.column_names
    return found.encoded(
        rows, {"labels": lambda origins: rows["label"].combine_chunks().take(origins)} if known else {}
    )


def encode_prompt(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `text` as a prompt for generation, without the end token that some tokenizers append.

    Returns:
        `input_ids` (list of int32); an overlong text keeps its end.
    """
    end = tokenizer.eos_token_id
    found = Windows(("input_ids",))
    for start, batch in batches(rows):
        whole = {"max_length": UNBOUNDED, "overlong": "truncate"}
        for at, pieces in enumerate(encode_windows(tokenizer, batch["text"].to_pylist(), whole, "longest_first")):
            ids = list(pieces[0].values["input_ids"])
            ids = ids[:-1] if ids[-1:] == [end] and len(ids) > 1 else ids
            over = len(ids) > shape["max_length"]
            found.add(start + at, [Piece({"input_ids": ids[-shape["max_length"] :]})] * (2 if over else 1), "truncate")
    return found.encoded(rows, {})


@dataclass
class Piece:
    """One window of a row: a list of numbers by column."""

    values: Mapping[str, Any]


class Windows:
    """Collects token rows while texts are encoded, and records overlong rows."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._chunks: dict[str, list[pa.Array]] = {name: [] for name in names}
        self._open: dict[str, list[Sequence[int]]] = {name: [] for name in names}
        self.origins: list[int] = []
        self.overlong: list[int] = []

    def add(self, origin: int, pieces: Sequence[Any], overlong: str) -> None:
        """Add a row's windows: all, the first, or none, by `overlong`."""
        if len(pieces) > 1:
            self.overlong.append(origin)
            if overlong in ("drop", "error"):
                return
        for piece in pieces if overlong == "window" else pieces[:1]:
            for name in self.names:
                self._open[name].append(piece.values[name])
            self.origins.append(origin)
        if len(self._open[self.names[0]]) >= BATCH:
            self._close()

    def refuse(self, rows: pa.Table, shape: Shape, field: str) -> None:
        """Raise DataError if `overlong` is `error` and there are overlong rows."""
        if self.overlong and shape["overlong"] == "error":
            raise DataError(
                f"{field}: {count(len(self.overlong), 'row')} of {rows.num_rows} are longer than data.max_length = "
                f"{shape['max_length']} tokens, at {rows_at(rows, self.overlong)}; raise it, or set data.overlong: "
                "truncate"
            )

    def encoded(
        self, rows: pa.Table, more: Mapping[str, Callable[[pa.Array], Any]], notices: tuple[str, ...] = ()
    ) -> Encoded:
        """Return the finished table; `more` are columns computed from the origins of its rows."""
        self._close()
        origins = pa.array(np.asarray(self.origins, dtype=np.int64))
        columns: dict[str, Any] = {
            name: pa.chunked_array(chunks, pa.list_(kind_of(name))) for name, chunks in self._chunks.items()
        }
        columns |= {name: make(origins) for name, make in more.items()}
        columns |= lineage(rows, origins)
        return Encoded(pa.table(columns), len(self.overlong), rows.num_rows - len(set(self.origins)), notices)

    def _close(self) -> None:
        for name, values in self._open.items():
            if values:
                self._chunks[name].append(lists(values, kind_of(name).to_pandas_dtype()))
        self._open = {name: [] for name in self.names}


def kind_of(name: str) -> pa.DataType:
    """Return the type of a token column's values."""
    return pa.int8() if name == "token_type_ids" or name.endswith("_mask") else pa.int32()


def lineage(rows: pa.Table, origins: pa.Array) -> dict[str, Any]:
    """Return the columns that identify the source row of each token row."""
    places = {name: rows[name].combine_chunks().take(origins) for name in ("__file", "__row")}
    return {"__origin": origins, **places}


def batches(rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Yield slices of the table, each with the position of its first row."""
    for start in range(0, rows.num_rows, BATCH):
        yield start, rows.slice(start, BATCH)


def encode_windows(
    tokenizer: Tokenizer,
    texts: list[Any],
    shape: Shape,
    strategy: str,
    pretokenized: bool = False,
    offsets: bool = False,
) -> Iterator[list[Any]]:
    """Yield for each text (or pair) its `tokenizers.Encoding`s as `Piece`s: one, or several if it is too long.

    Args:
        strategy: which part of a pair is cut: `longest_first`, `only_first`, `only_second`.
        pretokenized: texts are lists of words. offsets: whether character offsets are needed.
    """
    length, window = shape["max_length"], shape["overlong"] == "window"
    if not tokenizer.is_fast:
        yield from _encode_slowly(tokenizer, texts, length, window, pretokenized)
        return
    core: Any = tokenizer.backend_tokenizer  # the Rust call of transformers, without its Python lists of masks
    core.no_padding()
    stride = stride_of(shape) if window else 0
    core.enable_truncation(length, stride=stride, strategy=strategy, direction=tokenizer.truncation_side)
    call = core.encode_batch if offsets or pretokenized else core.encode_batch_fast
    for encoded in call(texts, is_pretokenized=pretokenized):
        yield [CorePiece(each) for each in (encoded, *encoded.overflowing)]


def stride_of(shape: Shape) -> int:
    """Return the overlap of windows in tokens: `stride`, at most a third of `max_length` so that windows advance."""
    return min(shape.get("stride") or 0, shape["max_length"] // 3)


class CorePiece:
    """A window from the Rust core. Lists are created on access, since most are not needed."""

    __slots__ = ("encoding",)

    def __init__(self, encoding: Any) -> None:
        self.encoding = encoding

    @property
    def values(self) -> "CorePiece":
        return self

    def __getitem__(self, name: str) -> list[int]:
        return self.encoding.ids if name == "input_ids" else self.encoding.type_ids


def _encode_slowly(
    tokenizer: Any, texts: list[Any], length: int, window: bool, pretokenized: bool
) -> Iterator[list[Piece]]:
    if window or pretokenized:
        raise ConfigError(
            f"model.name: its tokenizer ({type(tokenizer).__name__}) is written in Python and has no word or window "
            "boundaries, which this task or data.overlong: window needs; use a base with a tokenizer.json"
        )
    for text in texts:
        pair = text if isinstance(text, tuple) else (text, None)
        whole = tokenizer(*pair, truncation=False, return_token_type_ids=True)
        cut = tokenizer(*pair, truncation=True, max_length=length, return_token_type_ids=True)
        piece = Piece({name: cut[name] for name in ("input_ids", "token_type_ids")})
        yield [piece] * (2 if len(whole["input_ids"]) > length else 1)


def lists(values: Sequence[Sequence[int]], kind: Any) -> pa.ListArray:
    """Return Python lists of numbers as an Arrow list array."""
    lengths = np.fromiter((len(row) for row in values), dtype=np.int32, count=len(values))
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    flat = np.fromiter((token for row in values for token in row), dtype=kind, count=int(offsets[-1]))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
