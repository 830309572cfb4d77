"""Question answering on bases whose tokenizer has no CLS token, and on questions that have no answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    BertForQuestionAnswering,
    GPT2Config,
    GPT2ForQuestionAnswering,
)

from tasks.config import ConfigError
from tasks.data.tokens.encode_answers import encode_answers
from tasks.inference.predict import InferenceResult, config_for, run_inference
from tasks.inference.saved_model import open_saved
from tests.tiny import make_decoder

SHAPE = {"max_length": 32, "overlong": "window", "stride": 4}
SPAN = ("input_ids", "start_positions", "end_positions")
CONTEXT = "balen fruit koral metal"


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 for question answering, whose tokenizer has an end token alone."""
    folder = make_decoder(tmp_path_factory.mktemp("answering") / "gpt2")
    (folder / "generation_config.json").unlink()
    size = len(AutoTokenizer.from_pretrained(folder)) + 1
    config = GPT2Config(vocab_size=size, n_embd=32, n_layer=1, n_head=2, n_positions=64, eos_token_id=0, pad_token_id=0)
    GPT2ForQuestionAnswering(config).save_pretrained(folder)
    return folder


def rows_of(*answers: str | None) -> pa.Table:
    """A row for each answer; None is none."""
    found = [{"text": [each], "answer_start": [CONTEXT.index(each)]} if each else {"text": [], "answer_start": []}
             for each in answers]  # fmt: skip
    kind = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])
    size = len(answers)
    return pa.table({"question": ["metal ?"] * size, "context": [CONTEXT] * size, "answers": pa.array(found, kind),
                     "__file": ["a.jsonl"] * size, "__row": list(range(1, size + 1))})  # fmt: skip


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., tuple[InferenceResult, list[dict[str, Any]], list[str]]]:
    """Measure a model from elsewhere on a row for each answer."""

    def measure(folder: Path, *answers: str | None) -> tuple[InferenceResult, list[dict[str, Any]], list[str]]:
        path = tmp_path / "rows.jsonl"
        rows = rows_of(*answers).select(["question", "context", "answers"]).to_pylist()
        path.write_text("\n".join(json.dumps(row) for row in rows))
        config = config_for(str(path), "question-answering", [])
        said: list[str] = []
        found: list[dict[str, Any]] = []
        done = run_inference(open_saved(str(folder), config), config.data, True,
                             lambda table: found.extend(table.to_pylist()), info=said.append)  # fmt: skip
        return done, found, said

    return measure


def test_a_base_without_a_cls_token_is_trained_on_answers(gpt2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    table = encode_answers(rows_of("fruit", "metal"), tokenizer, SHAPE, "data.train", False).table
    spans = zip(*(table[name].to_pylist() for name in SPAN), strict=True)
    assert [tokenizer.decode(ids[start : end + 1]) for ids, start, end in spans] == ["fruit", "metal"]
    labelled = encode_answers(rows_of(None), tokenizer, SHAPE, "data.test", True).table
    assert labelled["start_positions"].to_pylist() == [0]


def test_questions_without_an_answer_need_a_cls_token(gpt2: Path, bert: Path) -> None:
    says = r"model.name: data.train has 1 question without an answer \(a.jsonl:2\), .* with a CLS token"
    with pytest.raises(ConfigError, match=says):
        encode_answers(rows_of("fruit", None), AutoTokenizer.from_pretrained(gpt2), SHAPE, "data.train", False)
    assert encode_answers(rows_of(None), AutoTokenizer.from_pretrained(bert), SHAPE, "data.train", False).table.num_rows


def test_a_model_without_a_cls_token_answers_each_question(gpt2: Path, measured: Any) -> None:
    done, found, said = measured(gpt2, "fruit", None)
    assert done.rows == 2 and all(row["prediction"] and row["prediction"] in CONTEXT for row in found)
    assert (
        "INPUT: 1 of 2 questions have no answer; the model was trained without such questions and answers each" in said
    )


def test_a_model_from_elsewhere_may_leave_questions_unanswered(bert: Path, tmp_path: Path, measured: Any) -> None:
    model = BertForQuestionAnswering.from_pretrained(bert)
    model.save_pretrained(tmp_path / "qa")
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.save_pretrained(tmp_path / "qa")
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "qa")
    # the embedding of [CLS] decides: its position gets the highest score for start and end
    tokens = tokenizer("metal ?", CONTEXT, return_tensors="pt")
    state = model(**tokens, output_hidden_states=True).hidden_states[-1][0, 0].detach()
    model.qa_outputs.weight.data[:] = state * 10
    model.save_pretrained(tmp_path / "qa")
    done, found, said = measured(tmp_path / "qa", "fruit", None)
    assert [row["prediction"] for row in found] == ["", ""] and done.metrics["no_answer_exact_match"] == 1
    assert "INPUT: 1 of 2 questions have no answer; the model may leave questions unanswered" in said
    assert all(row["prediction"] for row in measured(tmp_path / "qa", "fruit")[1])
