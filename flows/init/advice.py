"""Values for a config by its rows, each with the reason: lengths, splits, steps of training."""

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from flows.init.lengths import Lengths
from tasks.config import RunConfig
from tasks.data.messages import count
from tasks.objectives.base import Objective
from tasks.objectives.contradictions import has_effect

Advice: TypeAlias = tuple[str, object, str]
"""A dotted field, its value, and the reason."""

MODEL_LIMIT = 512  # tokens; of most encoders, where the model is not known
SHORTEST, MULTIPLE = 16, 8  # a multiple of 8 suits tensor cores
BLOCKS = 200  # rows of joined texts that a training needs
STEPS, MOST_EPOCHS = 200, 10  # fewer steps hardly train a new head
ROUNDS, SMALLEST_BATCH = 20, 8  # steps an epoch has at least, if the batch is not smaller for it
LARGE, HUGE = 100_000, 500_000  # rows of which two epochs, or one, suffice
HELD_OUT = 5_000  # rows on which metrics are precise enough
SMALL, TINY = 1_000, 50  # rows
SKEW = 5  # rows of the largest class for each of the smallest


def shares(rows: int, splits: Mapping[str, bool]) -> Iterator[Advice]:
    """Yield the shares held out for the splits without rows of their own.

    Args:
        splits: validation and test -> whether there are rows given for it.
    """
    share, why = 0.1, f"a tenth of {rows:,} rows"
    if rows >= LARGE:
        share, why = (
            max(round(HELD_OUT / rows, 3), 0.001),
            f"about {HELD_OUT:,} of {rows:,} rows are enough for metrics",
        )
    elif rows < SMALL:
        share, why = 0.2, f"a fifth: a tenth of only {rows:,} rows would give imprecise metrics"
    uses = {"validation": "chooses the checkpoint", "test": "is scored once, at the end"}
    for split, given in splits.items():
        if given:
            continue
        if split == "test" and rows < TINY:
            yield "data.split.test", 0.0, f"{rows} rows are too few for a test split too; give data.test if you can"
        else:
            yield f"data.split.{split}", share, f"{why}; it {uses[split]}"


def limits(config: RunConfig, objective: Objective, lengths: Lengths, longest: int | None) -> Iterator[Advice]:
    """Yield `data.max_length` and what depends on it.

    Args:
        config: with defaults filled in. longest: tokens that the model takes; None: not known.
    """
    usual, data = config.data.max_length or MODEL_LIMIT, config.data
    most = (longest or max(usual, MODEL_LIMIT)) - config.peft.virtual_tokens
    if objective.gather and data.merge == "concat":
        total, size = int(lengths.rows.sum() * lengths.scale), min(usual, most)
        while size >= 4 * SHORTEST and total / size < BLOCKS:
            size //= 2
        yield "data.max_length", size, f"texts of about {total:,} tokens are joined and cut into rows of this length"
        return
    top = min(most, max(usual, MODEL_LIMIT) if data.overlong == "truncate" else usual)
    length, why = _covering(lengths.rows, top, lengths.exact)
    over = float((lengths.rows > length).mean())
    then = {"truncate": "are truncated", "window": "become several windows", "drop": "are dropped"}
    why += (
        f", {100 * over:.0f} % of rows are longer and {then.get(data.overlong or '', 'stop the run')}"
        if over >= 0.015
        else ""
    )
    yield "data.max_length", length, f"{why} ({lengths.how})"
    if data.overlong == "window" and has_effect("data.stride", objective) and (data.stride or 0) > length // 3:
        yield "data.stride", length // 3, "the overlap of windows; at most a third of their length"
    if lengths.targets is not None:
        target, why = _covering(lengths.targets, 2 * (data.max_target_length or MODEL_LIMIT), lengths.exact)
        yield "data.max_target_length", target, f"{why} ({lengths.how}), of the texts to produce"
        yield "train.generation_max_length", target, "of generated texts, as data.max_target_length"


def _covering(lengths: np.ndarray, most: int, exact: bool) -> tuple[int, str]:
    """Return a length that nearly all rows fit in, at most `most`, and the reason."""
    high = math.ceil(float(np.percentile(lengths, 99)))
    wanted = math.ceil((high if exact else 1.2 * high) / MULTIPLE) * MULTIPLE
    length = min(max(wanted, SHORTEST), most)
    about = "" if exact else "about "
    return length, f"99 % of rows have at most {about}{high} tokens, the longest {about}{int(lengths.max())}"


def steps(config: RunConfig, origin: Mapping[str, str], rows: int) -> Iterator[Advice]:
    """Yield learning rate, epochs and batch size for a number of training rows.

    Args:
        config, origin: with defaults filled in. rows: those that the model sees in an epoch.
    """
    train = config.train
    reasons = {
        name: origin[f"train.{name}"] for name in ("learning_rate", "num_train_epochs", "per_device_train_batch_size")
    }
    batch, joined = train.per_device_train_batch_size or SMALLEST_BATCH, train.gradient_accumulation_steps or 1
    given = {name for name, place in origin.items() if place == "command line"}
    usual = batch
    if joined > 1 and rows < ROUNDS * batch * joined and "train.gradient_accumulation_steps" not in given:
        yield "train.gradient_accumulation_steps", 1, f"{rows:,} rows are too few to join {joined} batches in a step"
        joined = 1
    while (
        "train.per_device_train_batch_size" not in given and batch > SMALLEST_BATCH and rows < ROUNDS * batch * joined
    ):
        batch = max(batch // 2, SMALLEST_BATCH)
    per_epoch = max(math.ceil(rows / (batch * joined)), 1)
    fewer = f"fewer than the default of {usual}, as {rows:,} rows give few steps"
    yield "train.per_device_train_batch_size", batch, fewer if batch < usual else reasons["per_device_train_batch_size"]
    rate = f"{reasons['learning_rate']}; half and twice as much are worth trying (`finetune grid`)"
    yield "train.learning_rate", train.learning_rate, rate
    if (train.max_steps or -1) > 0:
        return
    epochs, why = train.num_train_epochs or 3.0, reasons["num_train_epochs"]
    if per_epoch * epochs < STEPS and epochs < MOST_EPOCHS:
        why = f"more than the default of {epochs:g}, which is only {count(math.ceil(per_epoch * epochs), 'step')}"
        epochs = float(min(MOST_EPOCHS, math.ceil(STEPS / per_epoch)))
    elif rows >= LARGE and epochs > (most := 1.0 if rows >= HUGE else 2.0):
        why, epochs = f"fewer than the default of {epochs:g}: {rows:,} rows give {per_epoch:,} steps an epoch", most
    yield "train.num_train_epochs", epochs, f"{why}; {count(per_epoch, 'step')} an epoch"


def imbalance(classes: Mapping[str, int]) -> str | None:
    """Return the largest and the smallest class, if their sizes differ much."""
    classes = {name: rows for name, rows in classes.items() if rows}
    if len(classes) < 2:
        return None
    most, least = max(classes, key=lambda name: classes[name]), min(classes, key=lambda name: classes[name])
    if classes[most] < SKEW * classes[least]:
        return None
    return f"{most!r} has {classes[most]:,} rows, {least!r} {classes[least]:,}"
