"""The Python API of trained models: a model folder and rows in, predictions or metrics out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from tasks.inference.predict import InferenceResult
    from tasks.inference.sampling import Sampling


def predict(
    model: str | Path,
    source: str,
    output: str | Path | None = None,
    *,
    task: str | None = None,
    overrides: Sequence[str] = (),
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    max_new_tokens: int | None = None,
    num_beams: int | None = None,
    seed: int | None = None,
    info: Callable[[str], None] = lambda line: None,
) -> "InferenceResult":
    """Predict with a trained model on unlabelled rows.

    Args:
        model: a folder that `finetune run` wrote, or, with `task`, any transformers model.
        source: a file, a folder, a glob, a URL, as `data.train`.
        output: a `.parquet`, `.arrow`, `.jsonl` or `.csv` file; None: JSON lines to stdout. The columns of the rows
            come before the predictions.
        overrides: `["data.columns.text=body", "train.generation_max_length=40", …]`.
        temperature, top_p, top_k, max_new_tokens, num_beams, seed: how texts are chosen, for tasks that generate
            them; see `tasks.inference.sampling.Sampling`. The same seed, rows and batch size give the same texts.
        info: called with notes for the user.

    Raises:
        ConfigError, DataError: naming the argument, or the file and line.
    """
    from tasks.inference.sampling import Sampling

    sampling = Sampling(max_new_tokens, temperature, top_p, top_k, num_beams, seed)
    return _infer(model, source, output, task, overrides, info, sampling)


def evaluate(
    model: str | Path,
    source: str,
    output: str | Path | None = None,
    *,
    task: str | None = None,
    overrides: Sequence[str] = (),
    info: Callable[[str], None] = lambda line: None,
) -> "InferenceResult":
    """Score a trained model on labelled rows; see `predict`.

    Args:
        output: where to write the predictions; None: not written.
    """
    return _infer(model, source, output, task, overrides, info, None)


def _infer(
    model: str | Path, source: str, output: str | Path | None, task: str | None, overrides: Sequence[str],
    info: Callable[[str], None], sampling: "Sampling | None",
) -> "InferenceResult":  # fmt: skip
    """Predict as `sampling` says, or, if it is None, score."""
    from tasks.data.tables.write_rows import RowsFile
    from tasks.inference.predict import config_for, run_inference, with_arguments
    from tasks.inference.sampling import with_sampling
    from tasks.inference.saved_model import open_saved
    from tasks.runtime.progress import RowProgress

    config = config_for(source, task, list(overrides))
    labelled = sampling is None
    saved = with_arguments(open_saved(str(model), config), config, labelled)
    saved = with_sampling(saved, sampling, config) if sampling is not None else saved
    to = RowsFile(Path(output).expanduser() if output is not None else None)
    with to, RowProgress("evaluation" if labelled else "prediction", info) as progress:

        def drop(_: pa.Table) -> None:
            pass

        keep = to.write if output is not None or not labelled else drop
        return run_inference(saved, config.data, labelled, keep, progress.rows, info)
