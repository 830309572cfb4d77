"""Stage 5: rows become token ids.

In: the rows, the base's tokenizer, `data.max_length`, `data.overlong`. Out: `train.arrow`, `validation.arrow`,
`test.arrow` with a list of ids a row (and its label and lineage), and `summary.json`: rows, tokens, longest, cut.

A stage of its own because it is the slow part of data, needs no weights, and is shared by every run that trains on
the same rows with the same tokenizer.
"""

from collections.abc import Mapping
from typing import Any, Literal

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.data.arrow_file import open_table, write
from tasks.objectives import objective_of
from tasks.runtime.build import Build
from tasks.runtime.stage import stage


@stage(libraries=("transformers", "tokenizers", "pyarrow"), parts=("encode",), light=True)
def tokenize(
    build: Build,
    *,
    task: str,
    rows: Artifact,
    base: Artifact,
    max_length: int,
    overlong: Literal["truncate", "error"],
) -> Mapping[str, Any]:
    """Write token tables.

    Raises:
        DataError: rows longer than `max_length` when `overlong` is `error`.
    """
    from tasks.models.tokenizer import read_tokenizer

    tokenizer = read_tokenizer(base.view())
    length = min(max_length, base.json("base.json")["max_length"])
    encode = objective_of(task).part("encode")
    summary: dict[str, Any] = {"max_length": length}
    for name in ("train", "validation", "test"):
        if f"{name}.arrow" not in rows:
            continue
        table, cut = encode(open_table(rows.path(f"{name}.arrow")), tokenizer, length, overlong, f"data.{name}")
        write(table, build.out / f"{name}.arrow")
        lengths = table["input_ids"].combine_chunks().value_lengths().to_numpy()
        summary[name] = {
            "rows": table.num_rows, "tokens": int(lengths.sum()), "longest": int(lengths.max()), "cut": cut,
        }  # fmt: skip
        if cut:
            build.say(f"data.{name}: {cut} of {table.num_rows} rows cut to {length} tokens (data.max_length)")
    json.write(summary, build.out / "summary.json")
    return summary
