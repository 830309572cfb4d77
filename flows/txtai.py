"""A door for code written for txtai's trainer: the same call, our stages underneath.

Names and behaviour are those of txtai 9.14's `HFTrainer`. What differs, because it was a fault there: labels of any
kind are mapped (`model.config.id2label`), a typo in `task` or `merge` is an error, rows are checked before a model is
loaded, and evaluation can be had (`trainer.metrics`). A run that was stopped goes on when it is called again, so
`checkpoint` needs no path.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.config.errors import ConfigError
from tasks.data.locate import own_cache
from tasks.objectives import objective_of
from tasks.runtime.attempt import attempt
from tasks.runtime.log import warn

ROLES = {
    "sequence-sequence": ("source", "target"),
    "question-answering": ("question", "context", "answers"),
    "language-generation": ("text", "text_pair"),
    "language-modeling": ("text", "text_pair"),
    "token-detection": ("text", "text_pair"),
}
ELSEWHERE = {"output_dir": "output_dir", "seed": "seed", "metric_for_best_model": "eval.best"}
DROPPED = ("load_best_model_at_end", "resume_from_checkpoint", "report_to", "log_level", "greater_is_better")


class Predictions(NamedTuple):
    """What a `metrics` function gets: for classes probabilities of shape (rows, classes), whose order is that of the
    logits, and class ids; for regression numbers of shape (rows, 1)."""

    predictions: Any
    label_ids: Any


class HFTrainer:
    """Trains a model: `model, tokenizer = HFTrainer()(base, train, …)`.

    Attributes:
        result: the last finished run (`FineTuned`): metrics, tokenized rows, collator, arguments, history, artifacts.
    """

    def __init__(self) -> None:
        self.result: Any = None
        self._more: dict[str, float] = {}

    def __call__(
        self,
        base: Any,
        train: Any,
        validation: Any = None,
        columns: Sequence[str | None] | None = None,
        maxlength: int | None = None,
        stride: int = 128,
        task: str = "text-classification",
        prefix: str | None = None,
        metrics: Callable[[Any], Mapping[str, float]] | None = None,
        tokenizers: int | bool | None = None,
        checkpoint: str | bool | None = None,
        quantize: Any = None,
        lora: Any = None,
        merge: str | None = "concat",
        teacher: Any = None,
        distillation: tuple[float, float] = (1.0, 0.5),
        tokenizebatch: int = 1000,
        **args: Any,
    ) -> tuple[Any, Any]:
        """Build a model.

        Args:
            base: a path or hub name, or a live (model, tokenizer) pair: the same model comes back, trained.
            train, validation: a list of dicts, a DataFrame, a `Dataset`, a torch dataset, an iterator; here also files.
            columns: (text, label), (text, text2 or None, label); (text, text2 or None); (source, target); (question,
                context, answers): as the task has it. None: by their names.
            maxlength: tokens. stride: tokens that windows share. prefix: before every source.
            metrics: called with `Predictions` of the validation rows; its results join `trainer.metrics`.
            tokenizers, tokenizebatch: accepted; tokenization takes the cores there are.
            checkpoint: accepted; a stopped run goes on by itself.
            quantize: True for 4 bits, or fields of BitsAndBytesConfig; without a GPU said and left out.
            lora: True (r 16, alpha 8, dropout 0.05), or a LoraConfig or its fields.
            merge: concat, pack or None, for language models.
            args: any of transformers' TrainingArguments.

        Returns:
            The model, in eval mode, and its tokenizer.

        Raises:
            ConfigError, DataError, TrainingError: before anything is spent, where possible.
        """
        if teacher is not None:
            raise ConfigError("teacher: distillation is not built yet; leave it out")
        from flows.door import finetune

        task = objective_of(task).name
        pair = None if isinstance(base, str | Path) else _pair(base)
        data = _data(task, train, validation, columns, maxlength, stride, prefix, merge)
        self.result = finetune({
            "task": task, "preset": "txtai", "model": str(_saved(*pair) if pair else base), "data": data,
            "peft": _adapter(lora), "quant": _quantized(quantize, lora), **_arguments(args),
        })  # fmt: skip
        self._more = {}
        if metrics is not None:
            self._more = attempt("metrics", lambda: dict(metrics(self._predictions())), {}, warn)
        return self._returned(pair)

    @property
    def metrics(self) -> dict[str, float]:
        """`eval_…` of the validation rows, with what a `metrics` function added; empty without validation."""
        return {**self.result.metrics, **{f"eval_{name.removeprefix('eval_')}": v for name, v in self._more.items()}}

    def _predictions(self) -> Predictions:
        import numpy as np

        from tasks.data.arrow_file import open_table

        evaluated = self.result._open("s10_evaluate")
        if "validation.predictions.arrow" not in evaluated:
            raise ValueError("there are no validation rows")
        table = open_table(evaluated.path("validation.predictions.arrow"))
        if "probabilities" in table.column_names:
            rows = table["probabilities"].combine_chunks()
            labels = self.result.labels
            known = [[labels.index(name) for name in (each if isinstance(each, list) else [each])]
                     for each in table["label"].to_pylist()]  # fmt: skip
            if self.result._open("s04_prepare").json("head.json")["problem_type"] == "multi_label_classification":
                return Predictions(_shaped(rows), np.asarray([[float(at in each) for at in range(len(labels))]
                                                              for each in known]))  # fmt: skip
            return Predictions(_shaped(rows), np.asarray([each[0] for each in known]))
        if table.schema.field("prediction").type == "double":
            return Predictions(table["prediction"].to_numpy()[:, None], table["label"].to_numpy())
        raise ValueError(f"a metrics function is not called for {self.result.arguments['task']}; use eval.metrics")

    def _returned(self, pair: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """The trained model; where a live one was given and can hold the weights, that one."""
        model = self.result.model
        if pair is None:
            return model, self.result.tokenizer
        live, tokenizer = pair
        state = model.state_dict()
        known = live.state_dict()
        if known.keys() == state.keys() and all(known[name].shape == state[name].shape for name in known):
            live.load_state_dict(state)
            live.config.update(model.config.to_diff_dict())
            return live.eval(), tokenizer
        return model, tokenizer


def _shaped(rows: Any) -> Any:
    return rows.flatten().to_numpy().reshape(len(rows), -1)


def _pair(base: Any) -> tuple[Any, Any]:
    if not isinstance(base, tuple | list) or len(base) != 2:
        raise ConfigError("base: give a path, a hub name, or a (model, tokenizer) pair")
    model, tokenizer = base
    if not hasattr(model, "save_pretrained") or not hasattr(tokenizer, "save_pretrained"):
        raise ConfigError("base: a live pair is a transformers model and its tokenizer; of other modules save the "
                          "weights as a transformers model first")  # fmt: skip
    return model, tokenizer


def _saved(model: Any, tokenizer: Any) -> Path:
    """The pair in a folder named by its content: the same weights are the same base."""
    root = own_cache() / "live"
    root.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=root, prefix="."))
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    digest = hashlib.sha256()
    for path in sorted(path for path in scratch.rglob("*") if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    target = root / digest.hexdigest()[:16]
    if target.exists():
        for path in scratch.iterdir():
            path.unlink()
        scratch.rmdir()
    else:
        scratch.rename(target)
    return target


def _data(
    task: str, train: Any, validation: Any, columns: Sequence[str | None] | None, maxlength: int | None, stride: int,
    prefix: str | None, merge: str | None,
) -> dict[str, Any]:  # fmt: skip
    """The `data` section; rows become files. What txtai never looked at is said, and stops nothing."""
    from tasks.data.objects import is_rows, rows_to_file

    names = [name for name in columns if name] if columns else None
    given = {"train": train, "validation": validation}
    files = {
        split: str(rows_to_file(rows, f"data.{split}", own_cache(), names)) if is_rows(rows) else rows
        for split, rows in given.items() if rows is not None
    }  # fmt: skip
    data: dict[str, Any] = {**files, "columns": _columns(task, columns), "stride": stride, "leakage": "warn"}
    data |= {"max_length": maxlength} if maxlength else {}
    data |= {"prefix": prefix} if prefix else {}
    if task in ("language-generation", "language-modeling", "token-detection"):
        data["merge"] = "none" if merge is None else merge
    return data


def _columns(task: str, columns: Sequence[str | None] | None) -> dict[str, str]:
    if not columns:
        return {}
    roles = ROLES.get(task) or (("text", "label") if len(columns) == 2 else ("text", "text_pair", "label"))
    if len(columns) != len(roles):
        raise ConfigError(f"columns: {task} takes {len(roles)} ({', '.join(roles)}), not {len(columns)}")
    return {role: name for role, name in zip(roles, columns, strict=True) if name}


def _adapter(lora: Any) -> Any:
    if not lora or lora is True:
        return "lora" if lora else "none"
    from tasks.config.peft import Lora

    fields = dict(lora if isinstance(lora, Mapping) else lora.to_dict())
    known = {name: value for name, value in fields.items() if name in Lora.model_fields and value is not None}
    if isinstance(known.get("target_modules"), set):
        known["target_modules"] = sorted(known["target_modules"])
    if isinstance(lora, Mapping) and (strange := fields.keys() - Lora.model_fields.keys() - {"task_type"}):
        raise ConfigError(f"lora: {min(strange)} is not known here; valid are {', '.join(Lora.model_fields)}")
    return {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0, **known, "method": "lora"}


def _quantized(quantize: Any, lora: Any) -> dict[str, Any]:
    if not quantize:
        return {}
    from tasks.models.device import device

    if device() == "cpu":
        warn("quantize: there is no GPU, so the base is not quantized")
        return {}
    if not lora:
        raise ConfigError("quantize: quantized weights cannot be trained themselves; give lora=True too")
    if quantize is True:
        return {"load_in_4bit": True}
    fields = dict(quantize if isinstance(quantize, Mapping) else quantize.to_dict())
    from tasks.config.quant import QuantConfig

    return {name: str(value).removeprefix("torch.") if "dtype" in name else value
            for name, value in fields.items() if name in QuantConfig.model_fields}  # fmt: skip


def _arguments(args: Mapping[str, Any]) -> dict[str, Any]:
    """TrainingArguments where ours stand: a few at other places, a few that mean nothing here."""
    found: dict[str, Any] = {"train": {}}
    for name, value in args.items():
        place = ELSEWHERE.get(name)
        if name in DROPPED or value is None or (name == "output_dir" and not value):
            continue
        if place == "eval.best":
            found["eval"] = {"best": str(value).removeprefix("eval_")}
        elif place:
            found[place] = value
        else:
            found["train"][name] = value
    return found
