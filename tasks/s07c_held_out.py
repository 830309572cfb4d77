"""Stage 7c, if `eval.forgetting` is set: tokenize held-out texts, and score them with the model before training.

In: the texts (by content), the model of stage 6, for `peft.method: continue` the adapter of stage 7. Out:
`tokens.arrow`, and `before.json` with the mean `loss` per token of the model before training. Stage 10 scores the same
tokens with the trained model.

A separate stage because the model before training is the same for all trainings of a grid over training settings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import DataError, ForgettingConfig, RunConfig
from tasks.data.rows.held_out import read_texts, text_files, text_readers
from tasks.data.tables.arrow_file import write
from tasks.models.device import machine, placed, placing
from tasks.runtime.build import Build
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage


def _files(texts: Unkeyed, **_: object) -> Mapping[str, Path]:
    return text_files(texts.value.data)


def _readers(files: Mapping[str, Path], **_: object) -> Mapping[str, str]:
    return {f"eval.forgetting {name}": reader for name, reader in text_readers(files).items()}


def held_out(run: RunConfig, **models: Any) -> ArtifactRef | None:
    """Return this stage's artifact; None if no forgetting is measured.

    Args:
        models: `base`, `model` and `adapter` of the stage.
    """
    section = run.eval.forgetting
    if section.data is None:
        return None
    return before(texts=Unkeyed(value=section), column=section.column, max_samples=section.max_samples,
                  virtual_tokens=run.peft.virtual_tokens, placing=placing(run), **models)  # fmt: skip


@stage(
    libraries=("torch", "transformers", "tokenizers", "pyarrow", "numpy"), files=_files, readers=_readers,
    environment=lambda **_: machine(),
)  # fmt: skip
def before(
    build: Build, *, base: Artifact, model: Artifact, adapter: Artifact | None, texts: ForgettingConfig,
    column: str | None, max_samples: int, virtual_tokens: int, placing: Mapping[str, Any],
) -> Mapping[str, object]:  # fmt: skip
    """Write the tokens of the texts, and the loss of the model before training.

    Args:
        adapter: of the model before training, which is trained on. texts: their source, not in the key; their files
            are. virtual_tokens: that a new adapter will add. placing: where and how precisely to compute.

    Raises:
        DataError: texts that cannot be read, or without a token to predict.
    """
    from tasks.evaluation.forgetting import LENGTH, encode_texts, mean_loss
    from tasks.models.assemble import starting_model
    from tasks.models.bases.tokenizer import read_tokenizer
    from tasks.training.compute import computing_as

    rows, notices = read_texts(build.files, column, max_samples)
    length = min(LENGTH, base.json("base.json")["max_length"] - virtual_tokens)
    encoded = encode_texts(rows, read_tokenizer(base.view()), length)
    for line in (*notices, *encoded.notices):
        build.warn(line)
    if not encoded.table.num_rows:
        raise DataError("eval.forgetting.data: no text has two tokens, so none has one to predict")
    write(encoded.table, build.out / "tokens.arrow")
    adapted, plan = adapter.view() if adapter is not None else None, placed(placing)
    live = starting_model(model.view(), base.externals(), model.json("load.json"), adapted)
    with computing_as(plan), RowProgress("held-out texts before training", build.info) as progress:
        processor, scratch = base.json("processor.json"), build.out / "scratch.arrow"
        loss = mean_loss(live, encoded.table, processor, plan, scratch, progress.rows)
    json.write({"loss": loss, "texts": rows.num_rows}, build.out / "before.json")
    return {"loss": loss, "texts": rows.num_rows}
