"""Generate the answers of a model to conversations: to held-out rows, to be scored, and for the report."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.artifacts.formats import json
from tasks.data.chat.encode import encode_chat_prompt
from tasks.data.chat.formats import Conversation
from tasks.data.chat.rows import from_json, to_json
from tasks.data.messages import count
from tasks.data.tables.arrow_file import open_table, write
from tasks.data.tokens.collate import PromptBatch
from tasks.data.tokens.dataset import TokenRows
from tasks.data.tokens.token_rows import scored_rows
from tasks.data.tokens.token_table import ORIGIN
from tasks.evaluation.attempt import attempt
from tasks.evaluation.host import Computing, Host
from tasks.evaluation.inference import predict_table
from tasks.evaluation.predictor import LINEAGE
from tasks.evaluation.predictors.prompts import MeasuredAnswers
from tasks.evaluation.scorers.final_answers import FinalAnswers
from tasks.evaluation.scoring import Scoring
from tasks.models.generation import ANSWER_TOKENS, GREEDY, positions_of, usual_limit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Answering:
    """A model that answers, and how.

    Attributes:
        tokenizer, processor: its own. planned: `plan.json`, for batch size, precision and device.
        limit: new tokens, at most. beams: 1 takes the likeliest token each time.
    """

    model: "torch.nn.Module"
    tokenizer: Any
    processor: Mapping[str, Any]
    planned: Mapping[str, Any]
    limit: int
    beams: int = 1

    def answer(
        self, conversations: pa.Table, field: str, scratch: Path,
        on_rows: Callable[[int, int], None] = lambda done, of: None,
    ) -> tuple[pa.Table, int]:  # fmt: skip
        """Continue conversations.

        Args:
            conversations: `messages`, and the lineage. field: for messages. scratch: a file that is overwritten.
            on_rows: called with rows done and in total.

        Returns:
            `prediction` and `cut` (whether the limit ended it), in the rows' order; and how many conversations were cut
            at their beginning to leave room.
        """
        shape = {"max_length": min(self.planned["max_length"], positions_of(self.model) - self.limit)}
        encoded = encode_chat_prompt(conversations, self.tokenizer, shape, field, False)
        how = {"generation_max_length": self.limit, "generate": {**GREEDY, "num_beams": self.beams}}
        predictor = MeasuredAnswers({}, lambda: self.tokenizer, how)
        view = TokenRows(encoded.table, self.processor, self.planned["seed"], self.planned["options"])
        predict_table(self.model, view, PromptBatch(self.processor), predictor, self.planned, scratch, on_rows)
        said = open_table(scratch)
        scratch.unlink()
        return said, encoded.overlong


def answering(
    model: "torch.nn.Module", tokenizer: Any, processor: Mapping[str, Any], planned: Mapping[str, Any],
    generation: Mapping[str, Any],
) -> Answering:  # fmt: skip
    """Return the model with the limits of `generation` (`generation_max_length`, `generation_num_beams`)."""
    limit, beams = (generation.get(name) for name in ("generation_max_length", "generation_num_beams"))
    return Answering(model, tokenizer, processor, planned, limit or usual_limit(model, ANSWER_TOKENS), beams or 1)


def score_generated(
    column: str, generation: Mapping[str, Any], host: Host, computing: Computing, model: "torch.nn.Module",
    tokenizer: Any, processor: Mapping[str, Any], planned: Mapping[str, Any], tables: Mapping[str, pa.Table],
    rows: Callable[[str], Path], scores: Scoring,
) -> None:  # fmt: skip
    """Add generated answers to the predictions of each split (see `add_answers`), and score them. An error is a
    warning.

    Args:
        column: see `add_answers`. generation: see `answering`. tables: the token rows that were scored, by split.
        rows: returns the file of a split's data rows.
    """
    asked = answering(model, tokenizer, processor, planned, generation)
    if not tables:
        host.warn("train.predict_with_generate: there are no validation or test rows, so no answers are generated; set "
                  "data.test, or a share of data.train in data.split.test")  # fmt: skip
    for split, tokens in tables.items():
        with computing(f"answers to {split}") as on_rows:
            texts = open_table(rows(f"{split}.arrow"))
            add = partial(add_answers, host, asked, split, texts, column, tokens, on_rows)
            answers = attempt("train.predict_with_generate", add, None, host.warn)
        if answers is not None:
            scores.add(split, FinalAnswers(), answers)


def add_answers(
    host: Host, asked: Answering, split: str, rows: pa.Table, column: str, tokens: pa.Table,
    on_rows: Callable[[int, int], None],
) -> pa.Table | None:  # fmt: skip
    """Generate the answers to a split's rows, and add them to its predictions as `answer`, with the `reference`.

    Rows without a reference (raw texts, tool calls, undesirable answers) have neither. Packed token rows are several
    data rows each: the file then has a row for each answer in place of the predictions.

    Args:
        rows: the split's data rows, with conversations in `column`; of KTO also with `label`. tokens: the token rows
            that were scored, whose data rows are answered. on_rows: called with rows done and in total.

    Returns:
        The rows with an answer; None if there are none.
    """
    predictions = host.out / f"{split}.predictions.arrow"
    packed = "position_ids" in tokens.column_names
    if packed:
        everything = pa.table({ORIGIN: pa.array(range(rows.num_rows), pa.int64())})
        tokens = scored_rows(everything, asked.planned["max_samples"], host.info) or everything
    some = rows.take(tokens[ORIGIN].combine_chunks()).append_column(ORIGIN, tokens[ORIGIN])
    found = references(some, column)
    if left := some.num_rows - found.num_rows:
        host.info(f"{split}: {count(left, 'row')} without an answer to compare with (raw texts, tool calls, "
                   "undesirable answers): none is generated")  # fmt: skip
    if not found.num_rows:
        host.warn(f"train.predict_with_generate: no row of {split} has an answer to compare with")
        return None
    said, truncated = asked.answer(found, split, predictions.with_suffix(".said"), on_rows)
    if truncated:
        host.warn(f"{split}: {count(truncated, 'question')} cut at the beginning to leave room for the answer "
                   "(data.max_length, train.generation_max_length)")  # fmt: skip
    if cut := int(pc.sum(said["cut"]).as_py()):
        host.warn(f"{split}: {count(cut, 'answer')} of {found.num_rows} ended by the limit of tokens, maybe before "
                   "the final answer (train.generation_max_length)")  # fmt: skip
    answers = found.select([ORIGIN, *LINEAGE]).append_column("answer", said["prediction"])
    answers = answers.append_column("reference", found["reference"])
    joined = answers if packed else _joined(open_table(predictions), answers)
    part = predictions.with_suffix(".part")
    write(joined, part)
    part.replace(predictions)
    written = open_table(predictions)
    return written.filter(pc.is_valid(written["answer"]))


def references(rows: pa.Table, column: str) -> pa.Table:
    """Return the rows with a reference: lineage, `messages` before the last answer, and that answer as `reference`."""
    found: dict[int, tuple[Conversation, str]] = {}
    desirable = rows["label"].to_pylist() if "label" in rows.column_names else [True] * rows.num_rows
    for at, (text, good) in enumerate(zip(rows[column].to_pylist(), desirable, strict=True)):
        given = from_json(text)
        question = question_of(given)
        if question and good and given.messages[len(question[0].messages)]["content"]:
            found[at] = question
    kept = rows.take(pa.array(list(found), pa.int64())).select([ORIGIN, *LINEAGE])
    kept = kept.append_column("messages", pa.array([to_json(each) for each, _ in found.values()], pa.string()))
    return kept.append_column("reference", pa.array([answer for _, answer in found.values()], pa.string()))


def question_of(found: Conversation) -> tuple[Conversation, str] | None:
    """Return the conversation before its last answer, and that answer; None for a raw text."""
    places = [at for at, turn in enumerate(found.messages) if turn["role"] == "assistant"]
    if not places:
        return None
    turn = found.messages[places[-1]]
    expected = turn["content"] or json.text(turn.get("tool_calls")).strip()
    return Conversation(found.messages[: places[-1]], None, found.tools), expected


def _joined(predictions: pa.Table, answers: pa.Table) -> pa.Table:
    places = pc.index_in(predictions[ORIGIN], value_set=answers[ORIGIN].combine_chunks())
    for name in ("answer", "reference"):
        predictions = predictions.append_column(name, answers[name].take(places))
    return predictions
