"""Checks data without a run: stage 4's checks, lengths in tokens, and export of invalid rows."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from tasks.artifacts.formats import json as json_file
from tasks.config import ConfigError, DataError, ModelConfig, RunConfig
from tasks.config.json_types import JsonObject
from tasks.data.chat.preview import rendered_row
from tasks.data.messages import MentionedRows, collecting_rows, count
from tasks.data.tokens.encode import UNBOUNDED
from tasks.data.tokens.encode_answers import refuse_questions
from tasks.data.tokens.shards import shards
from tasks.data.tokens.token_table import refuse_nothing
from tasks.execution.sample import SAMPLE, sampled
from tasks.models.bases.base import link, tokenizer_files
from tasks.objectives import objective_of
from tasks.objectives.base import Objective
from tasks.runtime import lengths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tasks.data.tokens.encode import Encoded

Result = TypeVar("Result")
PLACE = re.compile(r"^\s*(?P<file>[^\s:][^:]*):(?P<line>\d+): (?P<why>.+)$")


def rejecting_rows(check: Callable[[], Result], rejected: Path | None) -> Result:
    """Call `check`; write the rows of its errors to `rejected` as JSON lines: file, line, why, row.

    Raises:
        DataError: the errors of `check`, and where the rows are. ConfigError: the folder does not exist.
    """
    if rejected is not None and not rejected.absolute().parent.is_dir():
        raise ConfigError(f"--rejected: the folder {str(rejected.parent)!r} does not exist")
    with collecting_rows() as told:
        try:
            return check()
        except DataError as error:
            if rejected is None:
                raise
            lines = list(_rejected_rows(str(error), told))
            rejected.write_text("".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines))
            raise DataError(f"{error}\n{count(len(lines), 'invalid row')} written to {rejected}") from error


def _rejected_rows(message: str, told: Sequence[MentionedRows]) -> Iterator[JsonObject]:
    seen: set[tuple[str, int]] = set()
    for line in message.splitlines():
        each = _mentioned_in(line, told)
        if each is None or "__file" not in each.table.column_names:
            continue
        reason = line.replace(f": {each.text}", "").strip()
        for at in each.rows:
            row = {name: value[0] for name, value in each.table.slice(at, 1).to_pydict().items()}
            place = str(row.pop("__file")), int(row.pop("__row"))
            if place not in seen:
                seen.add(place)
                yield {"file": place[0], "line": place[1], "why": reason, "row": row}
    for line in message.splitlines():  # records that could not be parsed
        match = PLACE.match(line)
        if match and (match["file"], int(match["line"])) not in seen and not match["file"].startswith("data."):
            yield {"file": match["file"], "line": int(match["line"]), "why": match["why"]}


def _mentioned_in(line: str, told: Sequence[MentionedRows]) -> MentionedRows | None:
    """Return the rows mentioned in a line of an error. Earlier warnings mention rows too: their text may equal the
    line's list of places, or its beginning or end."""
    for each in reversed(told):
        if each.text and re.search(rf"(?:: |at |\(){re.escape(each.text)}(?!\d|, \S+:\d| and [\d,]+ more)", line):
            return each
    return None


def tokens(config: RunConfig, splits: Mapping[str, pa.Table]) -> JsonObject | None:
    """Encode a sample of train as the run would, and return the longest row and the share over the limit
    (`data.max_length`, or the model's if that is lower); None if the base is not available. If invalid rows would stop
    the run, all rows are encoded.

    Args:
        config: with its defaults filled in. splits: prepared rows, columns named by their roles.

    Returns:
        `rows` in the sample, `longest` (tokens), `max_length`, `share` over it, `overlong` (how those are treated),
        `warnings` (words without tokens, dropped rows), under `targets` the same for separate targets, and under
        `trained`, unless all tokens are trained, how many are and how many of them the limit removes, and under
        `rendered` a row.

    Raises:
        DataError: rows that would stop the run. ConfigError: the tokenizer lacks what the task needs.
    """
    try:
        files = tokenizer_files(config.model)
    except ConfigError:
        return None
    from tasks.models.bases.core_tokenizer import check_room, check_tokenizer

    objective, data = objective_of(config.task), config.data
    tokenizer, longest = _tokenizer(files, config.model, "chat_template" in objective.needs)
    special = sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id})
    check_tokenizer(tokenizer, objective.name, objective.needs)
    limit = min(data.max_length or longest, longest)
    check_room(limit, tokenizer.num_special_tokens_to_add(pair=False))
    shape = {name: getattr(data, name) for name in ("overlong", *objective.shape)}
    shape |= {"max_length": limit, "special_ids": special}
    _raise_encoding_errors(objective, splits, tokenizer, shape)
    some = sampled(splits["train"])
    read = encode_whole(objective, some, tokenizer, shape)
    encoded, notices = read.table, read.notices
    chained = objective.gather is not None and shape.get("merge") == "concat" and not shape.get("packing")
    becomes = "none is truncated: data.merge is concat" if chained else shape["overlong"]
    found = _over(_ids(encoded), UNBOUNDED if chained else limit, limit, becomes)
    among = f" (of {some.num_rows} sampled rows)" if some.num_rows < splits["train"].num_rows else ""
    lowered = limit < (data.max_length or limit) < lengths.UNBOUNDED
    notes = [f"data.max_length: {data.max_length} → {limit} tokens, {lengths.WHY['max_length']}"] if lowered else []
    if read.trained:
        cut = objective.component("encode")(some, tokenizer, shape, "data.train", False)
        found["rendered"] = rendered_row(some, tokenizer, shape).__dict__
        notices, found["trained"] = cut.notices, dict(zip(("tokens", "removed"), cut.trained, strict=True))
    if notes or notices:
        found["warnings"] = [*notes, *(f"{line}{among}" for line in notices)]
    if "max_target_length" in shape:
        most = shape["max_target_length"] or limit
        found["targets"] = _over([encoded["labels"]], most, most, becomes)
    return found


def encode_whole(objective: Objective, rows: pa.Table, tokenizer: Any, shape: Mapping[str, Any]) -> "Encoded":
    """Encode rows without a limit on their lengths."""
    whole = {**shape, "overlong": "truncate", "max_length": UNBOUNDED, "max_target_length": UNBOUNDED}
    return objective.component("encode")(rows, tokenizer, whole, "data.train", False)


def _tokenizer(files: Mapping[str, Path], model: ModelConfig, whole: bool) -> tuple[Any, int]:
    """Return a base's tokenizer and maximum length, importing torch only if necessary, or a `whole` one is needed."""
    from tasks.models.bases.core_tokenizer import read_words

    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
        folder, out = link(files, Path(scratch, "base")), Path(scratch, "read")
        if not whole and (found := read_words(folder)) is not None:
            return found
        from tasks.models.bases.chat_template import template_text
        from tasks.models.bases.tokenizer import read_base, read_tokenizer

        facts = read_base(folder, out, model.trust_remote_code, template_text(model.chat_template))
        json_file.write(facts, out / "base.json")
        return read_tokenizer(out), facts["max_length"]


def _ids(encoded: pa.Table) -> list[pa.ChunkedArray]:
    """Return the columns with token ids: one, or one for each answer of a preference."""
    return [encoded[name] for name in encoded.column_names if name == "input_ids" or name.endswith("_input_ids")]


def _over(ids: Sequence[pa.ChunkedArray], most: int, limit: int, becomes: str) -> JsonObject:
    """Return how many rows are longer than `most`; a row with several texts is as long as the longest of them."""
    lengths = np.max([each.combine_chunks().value_lengths().to_numpy() for each in ids], axis=0)
    return {"rows": len(lengths), "longest": int(lengths.max(initial=0)), "max_length": limit,
            "share": float((lengths > most).mean()) if len(lengths) else 0.0, "overlong": becomes}  # fmt: skip


def _raise_encoding_errors(
    objective: Objective, splits: Mapping[str, pa.Table], tokenizer: "PreTrainedTokenizerBase", shape: Mapping[str, Any]
) -> None:
    """Raise the DataError or ConfigError that encoding would raise; of very many rows, only for invalid ones."""
    for split, table in splits.items():
        field = f"data.{split}"
        if objective.encode.endswith(":encode_answers"):
            refuse_questions(table, tokenizer, shape, field, split != "train")
        encode, gather = objective.component("encode"), objective.component("gather")
        few = table.num_rows <= SAMPLE
        if not few and shape["overlong"] != "error":
            continue
        encoded = (encode(shard, tokenizer, shape, field, split != "train").table for _, shard in shards(table))
        if few:
            tables = [each for each in encoded if each.num_rows]
            refuse_nothing(len(tables), split, shape["max_length"])
            if gather:
                refuse_nothing(gather(tables, shape, field).table.num_rows, split, shape["max_length"])
            continue
        for each in encoded:
            if gather:
                gather([each], shape, field)
