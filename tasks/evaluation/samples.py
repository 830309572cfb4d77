"""What a model answers to a few questions, before and after training."""

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.artifacts.formats import json
from tasks.config.json_types import JsonObject
from tasks.data.chat.encode import encode_chat_prompt
from tasks.data.chat.formats import Conversation
from tasks.data.chat.rows import from_json, to_json
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.collate import PromptBatch
from tasks.data.tokens.dataset import TokenRows
from tasks.evaluation.inference import predict_table
from tasks.evaluation.predictors.prompts import NEW_TOKENS, AnswerPredictor
from tasks.models.generation import GREEDY, positions_of

if TYPE_CHECKING:
    import torch


def sample_answers(
    models: "Sequence[Callable[[], torch.nn.Module]]", rows: pa.Table, tokenizer: Any, processor: Mapping[str, Any],
    planned: Mapping[str, Any], out: Path,
) -> None:  # fmt: skip
    """Write what two models say in place of the last answers of `rows`: at most 64 tokens, the likeliest ones.

    Args:
        models: return the trained model, and the base; the first is freed before the second is called.
        rows: with the column `messages`; raw texts have no questions and are left out. planned: `plan.json`.
        out: file for a JSON list of `row`, `question`, `expected`, `base` and `trained`.
    """
    found = [(at, _question(from_json(text))) for at, text in enumerate(rows["messages"].to_pylist())]
    asked = [(at, each) for at, each in found if each]
    if not asked:
        return
    chosen = rows.take(pa.array([at for at, _ in asked])).select(["__file", "__row"])
    chosen = chosen.append_column("messages", pa.array([to_json(question) for _, (question, _) in asked]))
    said: list[list[str]] = []
    for load in models:
        said.append(_answers(load(), chosen, tokenizer, processor, planned, out.with_suffix(".arrow")))
        gc.collect()
    places = zip(chosen["__file"].to_pylist(), chosen["__row"].to_pylist(), strict=True)
    rendered: list[JsonObject] = [
        {"row": f"{file}:{row}", "question": _shown(question), "expected": expected, "base": before, "trained": after}
        for (_, (question, expected)), (file, row), after, before in zip(asked, places, *said, strict=True)
    ]
    json.write(rendered, out)


def _answers(
    model: "torch.nn.Module", rows: pa.Table, tokenizer: Any, processor: Mapping[str, Any], planned: Mapping[str, Any],
    scratch: Path,
) -> list[str]:  # fmt: skip
    positions = positions_of(model)
    limit = min(NEW_TOKENS, positions // 2)
    shape = {"max_length": min(planned["max_length"], positions - limit)}
    tokens = encode_chat_prompt(rows, tokenizer, shape, "eval.samples", False).table
    predictor = AnswerPredictor({}, lambda: tokenizer, {"generation_max_length": limit, "generate": GREEDY})
    view = TokenRows(tokens, processor, planned["seed"], planned["options"])
    predict_table(model, view, PromptBatch(processor), predictor, planned, scratch)
    said = open_table(scratch)["prediction"].to_pylist()
    scratch.unlink()
    return said


def _question(found: Conversation) -> tuple[Conversation, str] | None:
    """Return the conversation before its last answer, and that answer; None for a raw text."""
    places = [at for at, turn in enumerate(found.messages) if turn["role"] == "assistant"]
    if not places:
        return None
    turn = found.messages[places[-1]]
    expected = turn["content"] or json.text(turn.get("tool_calls")).strip()
    return Conversation(found.messages[: places[-1]], None, found.tools), expected


def _shown(question: Conversation) -> str:
    """Return the text of a question; if there are several messages, with their roles."""
    if len(question.messages) == 1:
        return str(question.messages[0]["content"])
    return "\n".join(f"{turn['role']}: {turn['content'] or ''}" for turn in question.messages)
