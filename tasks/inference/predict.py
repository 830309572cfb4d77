"""A finished model, asked about new rows: the same steps as in a run, without a store."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.artifacts.formats import json
from tasks.config import ConfigError, DataConfig, DataError, RunConfig
from tasks.data.rows.readable import readable
from tasks.data.sources.locate import locate
from tasks.data.sources.read import Read, read
from tasks.evaluation.scoring import Scores, score_table
from tasks.inference.saved_model import Saved
from tasks.models.bases.base import is_adapter
from tasks.models.device import device, matmul_precision, threads
from tasks.models.generation import unused
from tasks.objectives import objective_of
from tasks.objectives.base import Objective, named

if TYPE_CHECKING:
    from tasks.data.tokens.encode import Encoded

CHUNK = 65_536  # rows asked about at once: memory stays bounded, and padding is short within them
COMPONENTS = ("encode", "view", "collate", "predictor")


@dataclass(frozen=True)
class Asked:
    """What came of asking: rows, what was not read in full, and, where the answers were known, metrics and classes."""

    rows: int
    cut: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    classes: Mapping[str, Any] = field(default_factory=dict)


def ask_saved(
    saved: Saved,
    data: DataConfig,
    labelled: bool,
    write: Callable[[pa.Table], None],
    on_rows: Callable[[int, int], None] = lambda done, of: None,
    say: Callable[[str], None] = lambda line: None,
) -> Asked:
    """Read `data.train` and ask the model about every row of it.

    Args:
        labelled: whether the rows hold the right answers, by which the model is measured.
        write: given the rows with predictions beside them, some at a time, in the input's order.
        on_rows: told how many rows are done, and of how many. say: told what a user should know.

    Raises:
        DataError: naming file and line of what is wrong with the rows. ConfigError: the model cannot be loaded.
    """
    from tasks.models.torch_settings import torch_configured

    objective = objective_of(saved.task)
    found = read(locate(data.train, "INPUT"), data.format, data.encoding, "INPUT")
    data = _as_trained(saved, data, found.table.column_names)
    rows = _rows(objective, found, data, saved.head, labelled, say)
    saved = _as_asked(saved, rows, labelled, say)
    given = found.table if found.table.num_rows == rows.num_rows else rows  # of a word a row, sentences were made
    parts = {} if labelled else objective.inference
    model = _loaded(saved, not labelled and bool(parts), say)
    components = {name: parts.get(name, getattr(objective, name)) for name in COMPONENTS}
    asking = _Asking(saved, model, saved.tokenizer(), components)
    gather = objective.gather if labelled else None
    step = rows.num_rows if labelled else CHUNK
    cut, loss, tables = 0, float("nan"), []
    with (
        tempfile.TemporaryDirectory(prefix="finetune-") as scratch,
        torch_configured(threads(), matmul_precision()),
    ):
        for at in range(0, rows.num_rows, max(step, 1)):
            some = rows.slice(at, step)
            out = Path(scratch) / f"{at:09d}.arrow"

            def told(done: int, of: int, at: int = at, some: pa.Table = some) -> None:
                on_rows(at + done * some.num_rows // max(of, 1), rows.num_rows)

            encoded, loss = asking.ask(some, _shape(saved, labelled), gather, labelled, out, told)
            cut += encoded.cut
            for notice in encoded.told:
                say(notice)
            predictions = _open(out)
            shown = predictions if gather else readable(predictions, some, saved.head)
            _hand_on(write, shown, given.slice(at, step), gather)
            tables.append(predictions)
        scored = score_table(objective.component("scorer")(saved.head), tables[0], loss, None, 1000, {}, say) \
            if labelled else Scores()  # fmt: skip
    if cut:
        say(f"INPUT: {cut} of {rows.num_rows} rows are longer than the model's {saved.shape['max_length']} tokens "
            f"({saved.shape['overlong']})")  # fmt: skip
    return Asked(
        rows.num_rows, cut, dict(sorted(json.finite(scored.metrics).items())), scored.intervals, scored.classes
    )


def _rows(
    objective: Objective, found: Read, data: DataConfig, head: Mapping[str, Any], labelled: bool,
    say: Callable[[str], None],
) -> pa.Table:  # fmt: skip
    try:
        rows, notices = objective.component("inference_rows")(
            found.table, data, objective.roles, head, "INPUT", labelled
        )
    except DataError as error:
        raise DataError(_of_input(str(error))) from error
    for notice in (*found.notices, *notices):
        say(_of_input(notice))
    return rows


def _as_asked(saved: Saved, rows: pa.Table, labelled: bool, say: Callable[[str], None]) -> Saved:
    """`saved` with what the rows decide: predictions are always generated, whatever training measured; a model that is
    measured on questions without an answer may leave questions unanswered, unless its training had none of those."""
    if not labelled and "predict_with_generate" in saved.arguments:
        return replace(saved, arguments={**saved.arguments, "predict_with_generate": True})
    if not labelled or "answers" not in rows.column_names or saved.head.get("no_answer"):
        return saved
    unanswered = sum(not texts for texts in rows["answers"].combine_chunks().field("text").to_pylist())
    can = "no_answer" not in saved.head and saved.processor.get("cls_token_id") is not None
    if unanswered:
        does = "may leave questions unanswered" if can else "was trained without such questions and answers each"
        say(f"INPUT: {unanswered} of {rows.num_rows} questions have no answer; the model {does}")
    return replace(saved, head={**saved.head, "no_answer": True}) if unanswered and can else saved


def _of_input(message: str) -> str:
    """A message about rows to train on, as one about the rows that are asked about."""
    return message.replace("data.train:", "INPUT:")


def _loaded(saved: Saved, asked: bool, say: Callable[[str], None]) -> Any:
    from tasks.inference.load_saved import load_saved

    quantized = device() != "cpu" and "spared" in saved.loading  # a folder of before does not say what was quantized
    if saved.loading.get("quantization") and not (quantized and is_adapter(saved.folder)):
        say("MODEL: its base was quantized when it was trained and judged, and is not here: its metrics may differ")
    model = load_saved(saved.folder, saved.loading, asked, quantized, saved.base)
    if saved.arguments.get("predict_with_generate") and (line := unused(_generation(model), saved.arguments)):
        say(f"MODEL: {line}")
    return model


def _generation(model: Any) -> dict[str, Any]:
    given = getattr(model, "generation_config", None)
    return given.to_dict() if given is not None else {}


@dataclass(frozen=True)
class _Asking:
    saved: Saved
    model: Any
    tokenizer: Any
    parts: Mapping[str, str]

    def ask(
        self, rows: pa.Table, shape: Mapping[str, Any], gather: str | None, labelled: bool, out: Path,
        on_rows: Callable[[int, int], None],
    ) -> tuple["Encoded", float]:  # fmt: skip
        """Write the predictions of `rows`; return their tokens and the mean loss."""
        from tasks.evaluation.inference import ask

        saved = self.saved
        encoded = named(self.parts["encode"])(rows, self.tokenizer, shape, "INPUT", True)
        if gather:
            encoded = named(gather)([encoded.table], shape, "INPUT")
        view = named(self.parts["view"])(encoded.table, saved.processor, saved.seed, saved.options)
        predictor = named(self.parts["predictor"])(
            head=saved.head, processor=saved.processor, tokenizer=lambda: self.tokenizer, generation=saved.arguments
        )
        plan = {"arguments": saved.arguments, "device": device()}
        loss = ask(self.model, view, named(self.parts["collate"])(saved.processor), predictor, plan, out, on_rows)
        return encoded, loss


def _shape(saved: Saved, labelled: bool) -> dict[str, Any]:
    """As in training; but every row is to be answered, so none is left out for its length."""
    overlong = saved.shape["overlong"]
    if not labelled and (overlong in ("drop", "error") or saved.task == "token-classification"):
        overlong = "window" if saved.task != "sequence-sequence" else "truncate"
    return {**saved.shape, "overlong": overlong, "special_ids": saved.processor.get("special_ids", [])}


def _as_trained(saved: Saved, data: DataConfig, names: list[str]) -> DataConfig:
    """Columns bear the names they had in training, where the user says nothing else and they are there."""
    said = {role: column for role, column in saved.columns.items() if column in names}
    given = {role: column for role, column in data.columns.model_dump().items() if column is not None}
    return data.model_copy(update={"columns": data.columns.model_copy(update=said | given)})


def _open(path: Path) -> pa.Table:
    from tasks.data.tables.arrow_file import open_table

    return open_table(path)


def _hand_on(write: Callable[[pa.Table], None], predictions: pa.Table, rows: pa.Table, gather: str | None) -> None:
    from tasks.data.rows.inference_rows import join_predictions

    kept = [name for name in predictions.column_names if not name.startswith("__")]
    write(predictions.select(kept) if gather else join_predictions(predictions, rows))


def config_for(source: str, task: str | None, overrides: list[str]) -> RunConfig:
    """The config that says how INPUT is read (`data.…`), how texts are generated, and whether a model's code may run.

    Raises:
        ConfigError: an override that has no say in predictions.
    """
    from tasks.config import load

    strange = next((each for each in overrides if not each.startswith(SAID)), None)
    if strange:
        raise ConfigError(f"{strange.partition('=')[0]}: has no say in predictions; valid are {', '.join(SAID)}")
    draft: dict[str, Any] = {"model": {"name": "saved"}, "data": {"train": source}, **({"task": task} if task else {})}
    return load(draft, overrides).config


SAID = ("data.columns.", "data.format", "data.encoding", "model.trust_remote_code", "train.per_device_eval_batch_size",
        "train.generation_max_length", "train.generation_num_beams")  # fmt: skip


def with_arguments(saved: Saved, config: RunConfig) -> Saved:
    """`saved`, asked as `config` says (batch size, generation)."""
    given = {name: value for name, value in config.train.model_dump(exclude_unset=True).items() if value is not None}
    return replace(saved, arguments={**saved.arguments, **given})
