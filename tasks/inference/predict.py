"""Run a saved model on new rows: the same steps as in a run, without a store."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.artifacts.formats import json
from tasks.config import ConfigError, DataConfig, DataError, RunConfig
from tasks.config.arguments import LIMITS
from tasks.config.json_types import JsonObject
from tasks.data.rows.columns import may_be_json, may_be_used
from tasks.data.rows.readable import readable
from tasks.data.sources.locate import locate
from tasks.data.sources.read import Read, read
from tasks.evaluation.scoring import Scores, score_table
from tasks.inference.sampling import with_room
from tasks.inference.saved_model import Saved
from tasks.models.device import device, matmul_precision, threads
from tasks.models.generation import unlimited, unused
from tasks.objectives import objective_of
from tasks.objectives.base import Objective, named

if TYPE_CHECKING:
    import torch

    from tasks.data.tokens.encode import Encoded

CHUNK = 65_536  # rows at a time, sorted by length within: bounded memory and little padding
COMPONENTS = ("encode", "view", "collate", "predictor")


@dataclass(frozen=True)
class InferenceResult:
    """The result of inference: rows, truncated rows and, for labelled rows, metrics and scores by class."""

    rows: int
    overlong: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    classes: Mapping[str, Any] = field(default_factory=dict)


def run_inference(
    saved: Saved,
    data: DataConfig,
    labelled: bool,
    write: Callable[[pa.Table], None],
    on_rows: Callable[[int, int], None] = lambda done, of: None,
    info: Callable[[str], None] = lambda line: None,
) -> InferenceResult:
    """Read `data.train` and run the model on every row.

    Args:
        labelled: whether the rows have labels, to score the model. write: called with batches of rows with
            predictions, in the input's order. on_rows: called with rows done and in total. info: called with notes.

    Raises:
        DataError: invalid rows, with file and line. ConfigError: the model cannot be loaded.
    """
    objective = objective_of(saved.task)
    found = _read(saved, objective, data)
    data = _as_trained(saved, data, found.table.column_names)
    rows = _rows(objective, found, data, saved.head, labelled, info)
    saved = _adapted_to(saved, rows, labelled, info)
    given = found.table if found.table.num_rows == rows.num_rows else rows  # sentences of a word per row
    parts = {} if labelled else objective.inference
    model = load_model(saved, not labelled and bool(parts), info)
    saved = with_room(saved, model) if not labelled and objective.generates else saved
    components = {name: parts.get(name, getattr(objective, name)) for name in COMPONENTS}
    inference = _Inference(saved, model, saved.tokenizer(), components)
    gather = objective.gather if labelled else None
    step = rows.num_rows if labelled else CHUNK
    overlong, loss, tables = 0, float("nan"), []
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch, _configured(saved.seed):
        for at in range(0, rows.num_rows, max(step, 1)):
            some = rows.slice(at, step)
            out = Path(scratch) / f"{at:09d}.arrow"

            def on_part(done: int, of: int, at: int = at, some: pa.Table = some) -> None:
                on_rows(at + done * some.num_rows // max(of, 1), rows.num_rows)

            encoded, loss = inference.run(some, _shape(saved, labelled), gather, labelled, out, on_part)
            overlong += encoded.overlong
            for notice in encoded.notices:
                info(notice)
            predictions = _open(out)
            shown = predictions if gather else readable(predictions, some, saved.head)
            _write_rows(write, shown, given.slice(at, step), gather, info if at == 0 else None)
            tables.append(predictions)
        scored = score_table(objective.component("scorer")(saved.head), tables[0], loss, None, 1000, {}, info) \
            if labelled else Scores()  # fmt: skip
    if overlong:
        info(f"INPUT: {overlong} of {rows.num_rows} rows are longer than the model's {saved.shape['max_length']} "
             f"tokens ({saved.shape['overlong']})")  # fmt: skip
    return InferenceResult(
        rows.num_rows, overlong, dict(sorted(json.finite(scored.metrics).items())), scored.intervals, scored.classes
    )


def _read(saved: Saved, objective: Objective, data: DataConfig) -> Read:
    given = {role: column for role, column in data.columns.model_dump().items() if column is not None}
    wanted = {**saved.columns, **given}
    used, mixed = may_be_used(objective.roles, wanted), may_be_json(objective.roles, wanted)
    return read(locate(data.train, "INPUT"), data.format, data.encoding, "INPUT", used, mixed)


def _rows(
    objective: Objective, found: Read, data: DataConfig, head: Mapping[str, Any], labelled: bool,
    info: Callable[[str], None],
) -> pa.Table:  # fmt: skip
    try:
        rows, notices = objective.component("inference_rows")(
            found.table, data, objective.roles, head, "INPUT", labelled
        )
    except DataError as error:
        raise DataError(_about_input(str(error))) from error
    for notice in (*found.notices, *notices):
        info(_about_input(notice))
    return rows


def _adapted_to(saved: Saved, rows: pa.Table, labelled: bool, info: Callable[[str], None]) -> Saved:
    """Adapt `saved` to the rows: predictions are always generated, even if training did not generate; on rows with
    unanswerable questions the model may leave questions unanswered, unless its training data had none of them."""
    if not labelled and "predict_with_generate" in saved.arguments:
        return replace(saved, arguments={**saved.arguments, "predict_with_generate": True})
    if not labelled or "answers" not in rows.column_names or saved.head.get("no_answer"):
        return saved
    unanswered = sum(not texts for texts in rows["answers"].combine_chunks().field("text").to_pylist())
    can = "no_answer" not in saved.head and saved.processor.get("cls_token_id") is not None
    if unanswered:
        does = "may leave questions unanswered" if can else "was trained without such questions and answers each"
        info(f"INPUT: {unanswered} of {rows.num_rows} questions have no answer; the model {does}")
    return replace(saved, head={**saved.head, "no_answer": True}) if unanswered and can else saved


def _about_input(message: str) -> str:
    """Change a message about training rows to one about input rows."""
    return message.replace("data.train:", "INPUT:")


def load_model(saved: Saved, unlabelled: bool, info: Callable[[str], None]) -> Any:
    """Return the model as this machine loads it. unlabelled: whether it predicts on unlabelled rows."""
    from tasks.inference.load_saved import as_here, load_saved

    loading, changed = as_here(saved.folder, saved.loading)
    if changed:
        info(f"MODEL: {changed}; its metrics may differ")
    model = load_saved(saved.folder, loading, unlabelled, saved.base)
    if saved.arguments.get("predict_with_generate") and (line := unused(_generation(model), saved.arguments)):
        info(f"MODEL: {line}")
    if saved.arguments.get("predict_with_generate") and (line := unlimited(_generation(model), saved.arguments)):
        info(f"MODEL: {line}")
    return model


def _generation(model: "torch.nn.Module") -> JsonObject:
    given = getattr(model, "generation_config", None)
    return given.to_dict() if given is not None else {}


@dataclass(frozen=True)
class _Inference:
    saved: Saved
    model: Any
    tokenizer: Any
    parts: Mapping[str, str]

    def run(
        self, rows: pa.Table, shape: Mapping[str, Any], gather: str | None, labelled: bool, out: Path,
        on_rows: Callable[[int, int], None],
    ) -> tuple["Encoded", float]:  # fmt: skip
        """Write the predictions for `rows`; return their tokens and the mean loss."""
        from tasks.evaluation.inference import predict_table

        saved = self.saved
        encoded = named(self.parts["encode"])(rows, self.tokenizer, shape, "INPUT", True)
        if gather:
            encoded = named(gather)([encoded.table], shape, "INPUT")
        view = named(self.parts["view"])(encoded.table, saved.processor, saved.seed, saved.options)
        predictor = named(self.parts["predictor"])(
            head=saved.head,
            processor=saved.processor,
            tokenizer=lambda: self.tokenizer,
            generation=saved.arguments,
            options=saved.loss_options,
        )
        plan = {"arguments": saved.arguments, "device": device()}
        loss = predict_table(
            self.model, view, named(self.parts["collate"])(saved.processor), predictor, plan, out, on_rows
        )
        return encoded, loss


def _shape(saved: Saved, labelled: bool) -> JsonObject:
    """Return the tokenization options of training, except that no row is dropped for its length."""
    overlong = saved.shape["overlong"]
    if not labelled and (overlong in ("drop", "error") or saved.task == "token-classification"):
        overlong = "window" if saved.task != "sequence-sequence" else "truncate"
    return {**saved.shape, "overlong": overlong, "special_ids": saved.processor.get("special_ids", [])}


def _as_trained(saved: Saved, data: DataConfig, names: list[str]) -> DataConfig:
    """Use the column names of training if they exist and the user does not set others."""
    in_training = {role: column for role, column in saved.columns.items() if column in names}
    given = {role: column for role, column in data.columns.model_dump().items() if column is not None}
    return data.model_copy(update={"columns": data.columns.model_copy(update=in_training | given)})


def _open(path: Path) -> pa.Table:
    from tasks.data.tables.arrow_file import open_table

    return open_table(path)


@contextmanager
def _configured(seed: int) -> Iterator[None]:
    from tasks.models.torch_settings import seeded, torch_configured

    with torch_configured(threads(), matmul_precision()), seeded(seed):  # a causal model may sample
        yield


def _write_rows(
    write: Callable[[pa.Table], None], predictions: pa.Table, rows: pa.Table, gather: str | None,
    info: Callable[[str], None] | None,
) -> None:  # fmt: skip
    from tasks.data.rows.inference_rows import join_predictions, renamed_inputs

    kept = [name for name in predictions.column_names if not name.startswith("__")]
    if info is not None and not gather:
        for name, new in renamed_inputs(kept, rows.column_names).items():
            info(f"INPUT: its column {name!r} is written as {new!r}: {name!r} is a column of the predictions")
    write(predictions.select(kept) if gather else join_predictions(predictions, rows))


def config_for(source: str, task: str | None, overrides: list[str]) -> RunConfig:
    """Return the config for reading INPUT (`data.…`), generating texts, and running a model's code.

    Raises:
        ConfigError: an override without effect on predictions.
    """
    from tasks.config import load

    unknown = next((each for each in overrides if not each.startswith(SAID)), None)
    if unknown:
        raise ConfigError(f"{unknown.partition('=')[0]}: has no effect on predictions; valid are {', '.join(SAID)}")
    draft: dict[str, Any] = {"model": {"name": "saved"}, "data": {"train": source}, **({"task": task} if task else {})}
    return load(draft, overrides).config


SAID = ("data.columns.", "data.format", "data.encoding", "model.trust_remote_code", "train.per_device_eval_batch_size",
        "train.generation_max_length", "train.generation_num_beams")  # fmt: skip


def with_arguments(saved: Saved, config: RunConfig, labelled: bool) -> Saved:
    """Return `saved` with the batch size and generation limits of `config`.

    Raises:
        ConfigError: a limit of generated texts where none are generated.
    """
    given = {name: value for name, value in config.train.model_dump(exclude_unset=True).items() if value is not None}
    objective, switch = objective_of(saved.task), "predict_with_generate"
    scored = objective.generates_in_training and saved.arguments.get(switch, True)
    if (idle := next((name for name in LIMITS if name in given), None)) and not (
        scored if labelled else objective.generates
    ):
        raise ConfigError(f"train.{idle}: has no effect: {'the evaluation' if labelled else 'a prediction'} of a model "
                          f"for {saved.task} generates no texts")  # fmt: skip
    return replace(saved, arguments={**saved.arguments, **given})
