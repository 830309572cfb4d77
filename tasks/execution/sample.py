"""Plans a training from a sample of its rows, for data too large to tokenize for an estimate."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, RunConfig
from tasks.config.json_types import JsonObject
from tasks.data.tokens.token_table import token_lengths
from tasks.models.device import placed
from tasks.objectives import objective_of
from tasks.runtime.context import RunContext, open_run
from tasks.runtime.inputs import Pending
from tasks.runtime.lengths import limit_lengths
from tasks.runtime.log import warn
from tasks.runtime.ranks import rank_schedule
from tasks.training.arithmetic import check_ranks, count_steps

if TYPE_CHECKING:
    from tasks.data.chat.preview import RenderedRow

SAMPLE = 2000  # rows whose tokens are counted


def sampled(rows: pa.Table) -> pa.Table:
    """Return about `SAMPLE` evenly spaced rows, or all if there are fewer."""
    step = max(1, rows.num_rows // SAMPLE)
    # sliced one by one: `take` would copy all rows
    return pa.concat_tables([rows.slice(row, 1) for row in range(0, rows.num_rows, step)]).combine_chunks()


def sampled_plan(config: RunConfig, context: RunContext) -> tuple[JsonObject, pa.Table] | None:
    """Return the parts of `plan.json` that an estimate needs, from a sample of the training rows, and `sampled`: the
    number of rows in the sample and in total; with the token rows of the sample. None if rows, base or arguments are
    not known.
    """
    known = [context.refs[stage] for stage in ("s01_arguments", "s03_base", "s04_prepare")]
    if any(isinstance(ref, Pending) for ref in known):
        return None
    rows, arguments = context.rows("s04_prepare"), context.read("s01_arguments", "arguments.json")
    some = sampled(rows)
    with open_run(context):
        tokens = _tokens(config, context, some, context.refs["s03_base"])
    lengths, scale = token_lengths(tokens), rows.num_rows / some.num_rows
    placement = placed(arguments)
    steps = count_steps(placement["arguments"], round(tokens.num_rows * scale))
    try:
        check_ranks(rank_schedule(config.peft, context.refs["s03_base"]), steps.total)
    except ConfigError as error:  # by an estimate
        warn(f"{error} (the number of steps is estimated from a sample)")
    return placement | {
        "steps": asdict(steps),
        "tokens_per_epoch": round(int(lengths.sum()) * scale),
        "sampled": (some.num_rows, rows.num_rows),
    }, tokens


def _tokens(config: RunConfig, context: RunContext, rows: pa.Table, base: ArtifactRef) -> pa.Table:
    """Tokenize rows like stage 5."""
    objective, (tokenizer, shape) = objective_of(config.task), tokenizing(config, context, base)
    encoded = objective.component("encode")(rows, tokenizer, shape, "data.train", False)
    if objective.gather:
        encoded = objective.component("gather")([encoded.table], shape, "data.train")
    return encoded.table


def tokenizing(config: RunConfig, context: RunContext, base: ArtifactRef) -> tuple[Any, Mapping[str, Any]]:
    """Return the tokenizer and the shape with which stage 5 tokenizes."""
    from tasks.models.bases.tokenizer import read_tokenizer

    objective, opened = objective_of(config.task), context.open(base)
    arguments = {name: getattr(config.data, name) for name in ("max_length", "overlong", *objective.shape)}
    shape = {
        **limit_lengths(arguments, base, config.peft.virtual_tokens),
        "special_ids": opened.json("processor.json")["special_ids"],
    }
    return read_tokenizer(opened.view()), shape


def rendered_sample(config: RunConfig, context: RunContext) -> "RenderedRow | None":
    """Return a training row as the chat template renders it, and what of it is trained; None for tasks that train on
    all tokens, or if rows or base are not known.

    Raises:
        ConfigError: the template cannot be used, or not render the row.
    """
    known = [context.refs[stage] for stage in ("s03_base", "s04_prepare")]
    if "train_on" not in objective_of(config.task).shape or any(isinstance(ref, Pending) for ref in known):
        return None
    from tasks.data.chat.preview import rendered_row

    with open_run(context):
        return rendered_row(context.rows("s04_prepare"), *tokenizing(config, context, context.refs["s03_base"]))
