"""A model folder that says what it is: task, head, how rows become tokens."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.artifacts.formats import json
from tasks.config import ConfigError, ModelConfig, RunConfig
from tasks.models.base import base_files, link
from tasks.models.files import ADAPTER_CONFIG, INSIDE
from tasks.objectives import objective_of
from tasks.objectives.presets import resolve

INFERENCE = "inference.json"


@dataclass(frozen=True)
class Saved:
    """A model folder and what is known of how it was trained.

    Attributes:
        task: what it was trained for. head: labels and problem type. shape: how rows become tokens.
        columns: which column played which role in training.
        processor: facts of its tokenizer. loading: fields of `tasks.models.load.Loading`.
        arguments: batch size, precision, generation. options, seed: what its rows are masked by.
    """

    folder: Path
    task: str
    head: Mapping[str, Any]
    shape: Mapping[str, Any]
    columns: Mapping[str, str]
    processor: Mapping[str, Any]
    loading: Mapping[str, Any]
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]
    seed: int
    opened: Any = None

    def tokenizer(self) -> Any:
        """Its tokenizer (the one that was opened to learn of it); a composite keeps one in each part."""
        if self.opened is not None:
            return self.opened
        from transformers import AutoTokenizer

        folder = self.folder / "discriminator"
        return AutoTokenizer.from_pretrained(folder if folder.is_dir() else self.folder, local_files_only=True)


def open_saved(name: str, config: RunConfig) -> Saved:
    """Find a model folder: one of ours says itself what it is, another needs `config.task` (and gets its defaults).

    Raises:
        ConfigError: there is none, or it was trained for another task.
    """
    folder = Path(name).expanduser()
    if (folder / INFERENCE).is_file():
        saved = Saved(folder, **json.read(folder / INFERENCE))
        if "task" in config.model_fields_set and objective_of(config.task).name != saved.task:
            raise ConfigError(f"--task: {name} was trained for {saved.task}, not {config.task}")
        return saved
    if "task" not in config.model_fields_set:
        what = f"has no {INFERENCE}, as a model of `finetune run` has" if folder.is_dir() else "is no folder"
        raise ConfigError(f"MODEL: {name!r} {what}; for a model from elsewhere, say what it does with --task")
    return _foreign(base_files(ModelConfig(name=name)), config)


def _foreign(files: Mapping[str, Path], config: RunConfig) -> Saved:
    from transformers import AutoConfig

    from tasks.models.folding import head_width
    from tasks.models.tokenizer import limit_of, open_tokenizer, processor_of

    resolved, _ = resolve(config, {})
    objective = objective_of(config.task)
    folder = files.get(f"{INSIDE}{ADAPTER_CONFIG}", files["config.json"]).parent
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
        words = link({name: path for name, path in files.items() if not name.endswith(".safetensors")}, Path(scratch))
        given = AutoConfig.from_pretrained(words, local_files_only=True)
        tokenizer = open_tokenizer(words, False)
    if folder != files["config.json"].parent and (labels := head_width(folder)):
        given.num_labels = labels
    shape = {name: getattr(resolved.data, name) for name in ("max_length", "overlong", *objective.shape)}
    return Saved(
        folder, objective.name, _head(given, objective), {**shape, "max_length": min(
            shape["max_length"], limit_of(tokenizer, given.get_text_config()))}, {}, processor_of(tokenizer),
        {"auto_model": objective.auto_model}, {"per_device_eval_batch_size": 32, "predict_with_generate": True},
        {"mlm_probability": resolved.data.mlm_probability}, config.seed, tokenizer,
    )  # fmt: skip


def _head(config: Any, objective: Any) -> dict[str, Any]:
    if "Classification" not in objective.auto_model:
        return {"labels": None, "problem_type": None}
    labels = [config.id2label[at] for at in sorted(config.id2label)]
    problem = config.problem_type if objective.auto_model.endswith("SequenceClassification") else None
    if objective.auto_model.endswith("SequenceClassification") and problem is None:
        problem = "regression" if len(labels) == 1 else "single_label_classification"
    return {"labels": None if problem == "regression" else labels, "problem_type": problem}
