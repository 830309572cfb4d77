"""Stage 5: rows become token ids.

In: the rows, the base's tokenizer, the fields of `data` the task's encoder reads. Out: shards `<split>-<first
row>.arrow` with a list of ids a row (and its label and lineage), and `summary.json`: rows, tokens, longest, cut, lost.
A shard is an artifact by itself: a build that was killed goes on with the first shard that is missing, and a file added
to the data is the only one that is tokenized.

A stage of its own because it is the slow part of data, needs no weights, and is shared by every run that trains on
the same rows with the same tokenizer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, DataConfig
from tasks.data.tables.arrow_file import open_table, write
from tasks.data.tokens.shards import digest, shards
from tasks.data.tokens.token_rows import shard_name
from tasks.data.tokens.token_table import open_tokens, token_lengths
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.lengths import within
from tasks.runtime.stage import stage

ALL_IN_A_PLAN = 50_000  # rows; a few seconds
SPLITS = ("train", "validation", "test")


def shape(objective: Objective, data: DataConfig, base: ArtifactRef) -> dict[str, Any]:
    """What of the data section shapes tokens, as far as the base allows it."""
    asked = {name: getattr(data, name) for name in ("max_length", "overlong", *objective.shape)}
    return within(asked, base)


def few(rows: ArtifactRef, **_: Any) -> bool:
    """Whether a plan tokenizes all rows: an estimate from a sample does not depend on how many there are."""
    return sum(rows.facts.get("rows", {}).values()) <= ALL_IN_A_PLAN


@stage(libraries=("transformers", "tokenizers", "pyarrow"), components=("encode", "gather", "needs"), run_in_plan=few)
def tokenize(
    build: Build, *, objective: Objective, rows: Artifact, base: Artifact, shape: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Write token tables.

    Raises:
        DataError: rows longer than `max_length` when `overlong` is `error`. ConfigError: a base whose tokenizer cannot
            do what the task needs.
    """
    from tasks.models.bases.core_tokenizer import check_room, check_tokenizer
    from tasks.models.bases.tokenizer import read_tokenizer

    processor = base.json("processor.json")
    tokenizer = read_tokenizer(base.view())
    check_tokenizer(tokenizer, objective.name, objective.needs)
    length = min(shape["max_length"], base.json("base.json")["max_length"])
    check_room(length, processor["special_tokens"])
    shape = {**shape, "max_length": length, "special_ids": processor["special_ids"]}
    encode, roles = objective.component("encode"), {role.name for role in objective.roles}
    summary: dict[str, Any] = {"max_length": length}
    for split in (name for name in SPLITS if f"{name}.arrow" in rows):
        table = open_table(rows.path(f"{split}.arrow"))
        paths, starts, cut, lost, told = [], [], 0, 0, []
        for at, shard in shards(table):

            def make(out: Path, shard: pa.Table = shard, split: str = split) -> Mapping[str, Any]:
                encoded = encode(shard, tokenizer, shape, f"data.{split}", split != "train")
                write(encoded.table, out / "tokens.arrow")
                return {"cut": encoded.cut, "lost": encoded.lost, "rows": encoded.table.num_rows,
                        "told": list(encoded.told)}  # fmt: skip

            read = [name for name in shard.column_names if name in roles or name.startswith("__")]
            named = {"rows": digest(shard.select(read)), "labelled": split != "train"}
            piece = build.piece(named, instead_of="rows", make=make)
            if piece.facts["rows"]:
                paths.append(piece.members["tokens.arrow"])
                starts.append(at)
            cut, lost, told = cut + piece.facts["cut"], lost + piece.facts["lost"], [*told, *piece.facts["told"]]
        if objective.gather:
            tables = [open_tokens([build.store.path(member)], [at]) for member, at in zip(paths, starts, strict=True)]
            gathered = objective.component("gather")(tables, shape, f"data.{split}")
            write(gathered.table, build.out / shard_name(split, 0))
            found, cut, lost, told = gathered.table, gathered.cut, gathered.lost, gathered.told
        else:
            build.adopted.update({shard_name(split, at): each for at, each in zip(starts, paths, strict=True)})
            found = open_tokens([build.store.path(member) for member in paths], starts)
        for line in told:
            build.warn(line)
        summary[split] = _counts(found, cut, lost, split)
        if cut:
            what = {"truncate": "cut to", "drop": "left out, being over", "window": "made into windows of"}
            build.warn(f"data.{split}: {cut} of {table.num_rows} rows {what.get(shape['overlong'], 'over')} {length} "
                      "tokens (data.max_length, data.overlong)")  # fmt: skip
    json.write(summary, build.out / "summary.json")
    return summary


def _counts(table: pa.Table, cut: int, lost: int, split: str) -> dict[str, Any]:
    if not table.num_rows:
        raise ConfigError(f"data.{split}: no row is left of it: none fits in data.max_length (raise it, or set "
                          "data.overlong: truncate or window), or none has a token to learn from")  # fmt: skip
    lengths = token_lengths(table)
    return {"rows": table.num_rows, "tokens": int(lengths.sum()), "longest": int(lengths.max()), "cut": cut,
            "lost": lost}  # fmt: skip
