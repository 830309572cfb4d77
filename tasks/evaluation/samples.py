"""What a model answers to a few questions, before and after training."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.artifacts.formats import json
from tasks.config.json_types import JsonObject
from tasks.data.chat.formats import Conversation
from tasks.data.chat.rows import from_json, to_json
from tasks.evaluation.answers import Answering, question_of
from tasks.evaluation.predictors.prompts import NEW_TOKENS
from tasks.models.generation import usual_limit

if TYPE_CHECKING:
    import torch


def sample_answers(
    models: "Sequence[Callable[[], torch.nn.Module]]", rows: pa.Table, column: str, limit: int, tokenizer: Any,
    processor: Mapping[str, Any], planned: Mapping[str, Any], out: Path,
) -> None:  # fmt: skip
    """Write what two models say in place of the last answers of the first `limit` rows: at most 64 tokens, the
    likeliest ones.

    Args:
        models: return the trained model, and the model before training; the first is freed before the second is called.
        rows: with conversations in `column`; raw texts have no questions and are left out, as are rows whose answer is
            undesirable. planned: `plan.json`. out: file for a JSON list of `row`, `question`, `expected`, `base` and
            `trained`.
    """
    rows = (rows.filter(pc.equal(rows["label"], 1)) if "label" in rows.column_names else rows).slice(0, limit)
    found = [(at, question_of(from_json(text))) for at, text in enumerate(rows[column].to_pylist())]
    questions = [(at, each) for at, each in found if each]
    if not questions:
        return
    chosen = rows.take(pa.array([at for at, _ in questions])).select(["__file", "__row"])
    chosen = chosen.append_column("messages", pa.array([to_json(question) for _, (question, _) in questions]))
    said: list[list[str]] = []
    for load in models:
        asked = Answering(model := load(), tokenizer, processor, planned, usual_limit(model, NEW_TOKENS))
        said.append(asked.answer(chosen, "eval.samples", out.with_suffix(".arrow"))[0]["prediction"].to_pylist())
        del asked, model  # it is freed before the next is loaded
        gc.collect()
    places = zip(chosen["__file"].to_pylist(), chosen["__row"].to_pylist(), strict=True)
    rendered: list[JsonObject] = [
        {"row": f"{file}:{row}", "question": _shown(question), "expected": expected, "base": before, "trained": after}
        for (_, (question, expected)), (file, row), after, before in zip(questions, places, *said, strict=True)
    ]
    json.write(rendered, out)


def _shown(question: Conversation) -> str:
    """Return the text of a question; if there are several messages, with their roles."""
    if len(question.messages) == 1:
        return str(question.messages[0]["content"])
    return "\n".join(f"{turn['role']}: {turn['content'] or ''}" for turn in question.messages)
