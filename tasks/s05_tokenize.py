"""Stage 5: tokenize the rows.

In: the rows, the base's tokenizer, the fields of `data` that the task's encoder reads. Out: shards `<split>-<first
row>.arrow` with each row's ids, label and origin, and `summary.json`: rows, tokens, longest, overlong, dropped. Each
shard is an artifact: a build that was killed resumes at the first missing shard, and of a file added to the data only
that file is tokenized.

A separate stage because it is slow, needs no weights, and is shared by all runs with the same rows and tokenizer.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import DataConfig
from tasks.config.json_types import JsonObject
from tasks.data.tables.arrow_file import open_table, write
from tasks.data.tokens.shards import digest, shards
from tasks.data.tokens.token_rows import shard_name
from tasks.data.tokens.token_table import longest_of, open_tokens, refuse_nothing, token_lengths
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.lengths import limit_lengths
from tasks.runtime.stage import stage

ALL_IN_A_PLAN = 50_000  # rows; a few seconds
SPLITS = ("train", "validation", "test")


def shape(objective: Objective, data: DataConfig, base: ArtifactRef, virtual_tokens: int = 0) -> JsonObject:
    """Return the fields of `data` that determine tokens, limited to what the base allows beside an adapter's virtual
    tokens."""
    wanted = {name: getattr(data, name) for name in ("max_length", "overlong", *objective.shape)}
    return limit_lengths(wanted, base, virtual_tokens)


def few(rows: ArtifactRef, **_: object) -> bool:
    """Whether a plan tokenizes all rows instead of estimating from a sample."""
    return sum(rows.facts.get("rows", {}).values()) <= ALL_IN_A_PLAN


@stage(libraries=("transformers", "tokenizers", "pyarrow"), components=("encode", "gather", "needs"), run_in_plan=few)
def tokenize(
    build: Build, *, objective: Objective, rows: Artifact, base: Artifact, shape: Mapping[str, Any]
) -> Mapping[str, object]:
    """Write token tables.

    Raises:
        DataError: rows longer than `max_length` when `overlong` is `error`. ConfigError: the base's tokenizer lacks
            something that the task needs; no row is left.
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
        paths, starts, done = [], [], []
        for at, shard in shards(table):

            def make(out: Path, shard: pa.Table = shard, split: str = split) -> Mapping[str, object]:
                encoded = encode(shard, tokenizer, shape, f"data.{split}", split != "train")
                write(encoded.table, out / "tokens.arrow")
                return {"overlong": encoded.overlong, "dropped": encoded.dropped, "rows": encoded.table.num_rows,
                        "notices": list(encoded.notices), "trained": encoded.trained}  # fmt: skip

            read = [name for name in shard.column_names if name in roles or name.startswith("__")]
            named = {"rows": digest(shard.select(read)), "labelled": split != "train"}
            piece = build.piece(named, instead_of="rows", make=make)
            if piece.facts["rows"]:
                paths.append(piece.members["tokens.arrow"])
                starts.append(at)
            done.append(piece.facts)
        refuse_nothing(len(paths), split, length)
        overlong, dropped = (sum(each[name] for each in done) for name in ("overlong", "dropped"))
        notices = [line for each in done for line in each["notices"]]
        if objective.gather:
            tables = [open_tokens([build.store.path(member)], [at]) for member, at in zip(paths, starts, strict=True)]
            gathered = objective.component("gather")(tables, shape, f"data.{split}")
            write(gathered.table, build.out / shard_name(split, 0))
            found, notices = gathered.table, [*notices, *gathered.notices]
            overlong, dropped = overlong + gathered.overlong, dropped + gathered.dropped
        else:
            build.adopted.update({shard_name(split, at): each for at, each in zip(starts, paths, strict=True)})
            found = open_tokens([build.store.path(member) for member in paths], starts)
        for line in notices:
            build.warn(line)
        refuse_nothing(found.num_rows, split, length)
        summary[split] = _counts(found, overlong, dropped)
        if overlong:
            what = {"truncate": "cut to", "drop": "dropped, longer than", "window": "split into windows of"}
            build.warn(f"data.{split}: {overlong} of {table.num_rows} rows {what.get(shape['overlong'], 'over')} "
                      f"{length} tokens (data.max_length, data.overlong){_cost(done)}")  # fmt: skip
    json.write(summary, build.out / "summary.json")
    return summary


def _counts(table: pa.Table, overlong: int, dropped: int) -> JsonObject:
    lengths = token_lengths(table)
    longest = int(longest_of(table).max())
    return {"rows": table.num_rows, "tokens": int(lengths.sum()), "longest": longest, "overlong": overlong,
            "dropped": dropped}  # fmt: skip


def _cost(done: Sequence[Mapping[str, Any]]) -> str:
    """Return how many trained tokens the limit removes, as the end of a sentence; empty if all tokens are trained."""
    trained, removed = (sum(each["trained"][at] for each in done if each["trained"]) for at in (0, 1))
    return f", which removes {removed:,} of {trained:,} trained tokens ({removed / trained:.1%})" if trained else ""
