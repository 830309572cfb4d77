"""What a run measures after training besides scoring its rows, in words, for a plan."""

from collections.abc import Iterator

from tasks.config import RunConfig
from tasks.models.generation import ANSWER_TOKENS
from tasks.objectives import objective_of

VERDICT = {"fail": "fails the run", "warn": "warns"}


def after_training(config: RunConfig) -> list[str]:
    """Return a line for each measurement of a resolved config."""
    return [*_answers(config), *_forgetting(config), *_guards(config)]


def _answers(config: RunConfig) -> Iterator[str]:
    train, judged = config.train, config.eval
    if objective_of(config.task).answers is None or not getattr(train, "predict_with_generate", None):
        return
    limit, beams = (getattr(train, f"generation_{name}", None) for name in ("max_length", "num_beams"))
    rows = f"at most {judged.max_samples:,} rows" if judged.max_samples else "all rows"
    how = f"by beam search with {beams} beams" if (beams or 1) > 1 else "greedily"
    yield (f"after training: answers to {rows} of {' and '.join(judged.splits)} are generated {how}, each of at most "
           f"{limit or ANSWER_TOKENS} tokens, and scored by exact_match (train.predict_with_generate)")  # fmt: skip


def _forgetting(config: RunConfig) -> Iterator[str]:
    given = config.eval.forgetting
    if given.data is not None:
        names = given.data if isinstance(given.data, str) else ", ".join(given.data)
        yield (f"before and after training: the loss on at most {given.max_samples:,} texts of {names} is measured "
               "(eval.forgetting)")  # fmt: skip


def _guards(config: RunConfig) -> Iterator[str]:
    for guard in config.eval.guard:
        allowed = guard.max_drop
        limit = "" if allowed is None else f"; it {VERDICT[guard.on_drop]} if worse by more than {allowed:g}"
        metric = guard.metric or "the main metric"
        yield (f"before and after training: {metric} of {guard.called(config.model.name)} is measured "
               f"(eval.guard){limit}")  # fmt: skip
