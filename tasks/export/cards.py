"""Adapt the model card of an exported folder to what is in it."""

import re
from pathlib import Path
from typing import Any

from tasks.inference.saved_model import Saved
from tasks.models.bases.files import CARD
from tasks.objectives import objective_of
from tasks.results.card import REPORT_LINE
from tasks.results.usage import sample_of, usage


def of_whole_model(folder: Path, saved: Saved) -> None:
    """Say that the model is loaded by transformers, without an adapter."""
    objective = objective_of(saved.task)
    _rewrite(
        folder,
        usage(".", objective.auto_model, objective.pipeline_tag, None, sample_of(objective, saved.columns)),
        library_name="transformers",
    )


def with_onnx(folder: Path, saved: Saved, inputs: list[str]) -> None:
    """Say how the graph is run."""
    _rewrite(folder, f'''from onnxruntime import InferenceSession
from transformers import AutoTokenizer

tokenizer, session = AutoTokenizer.from_pretrained("."), InferenceSession("model.onnx")
tokens = tokenizer(["your text"], return_tensors="np")
print(session.run(None, {{name: tokens[name] for name in {inputs}}}))''', library_name="onnx")  # fmt: skip


def without_report(folder: Path) -> None:
    """Remove the line that refers to the report, which is not exported."""
    if (folder / CARD).is_file():
        (folder / CARD).write_text((folder / CARD).read_text().replace(REPORT_LINE, ""))


def _rewrite(folder: Path, code: str, **header: Any) -> None:
    from huggingface_hub import ModelCard

    if not (folder / CARD).is_file():
        return
    card = ModelCard.load(folder / CARD)
    for name, value in header.items():
        setattr(card.data, name, value)
    card.text = re.sub(r"```python\n.*?\n```", lambda _: f"```python\n{code}\n```", card.text, count=1, flags=re.DOTALL)
    card.save(folder / CARD)
