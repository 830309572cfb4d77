"""Every metric against the library whose name it bears, on made-up predictions."""

import logging
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluation.score import intervals, is_tie, point, slices
from tasks.evaluation.scorers import answers as answer_scores
from tasks.evaluation.scorers import classes as class_scores
from tasks.evaluation.scorers import detection as detection_scores
from tasks.evaluation.scorers import tags as tag_scores
from tasks.evaluation.scorers import texts as text_scores
from tasks.evaluation.scorers import tokens as token_scores
from tasks.evaluation.scorers.final_answers import FinalAnswers
from tasks.objectives import OBJECTIVES, objective_of

LABELS = ["amber", "beech", "cedar", "dune"]
WORDS = ["the", "red", "fox", "sat", "on", "a", "low", "wall", "and", "saw", "two", "more", "of", "them", "run"]


def classes(rows: int, labels: list[str], seed: int = 0, skill: float = 0.5) -> pa.Table:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.ones(len(labels)), rows).astype(np.float32)
    guess = scores.argmax(1)
    gold = np.where(random.random(rows) < skill, guess, random.integers(0, len(labels), rows))
    return pa.table({
        "__origin": pa.array(np.arange(rows)),
        "label": pa.array([labels[at] for at in gold]),
        "prediction": pa.array([labels[at] for at in guess]),
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), len(labels)),
    })  # fmt: skip


def one_class(labels: list[str]) -> Any:
    return class_scores.scorer({"labels": labels, "problem_type": "single_label_classification"})


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 300), count=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_one_class_is_scikit_learns(rows: int, count: int, seed: int) -> None:
    from sklearn import metrics

    table = classes(rows, LABELS[:count], seed)
    gold, guess = table["label"].to_pylist(), table["prediction"].to_pylist()
    found = point(one_class(LABELS[:count]), table)
    for average in ("macro", "weighted"):
        assert found[f"f1_{average}"] == pytest.approx(metrics.f1_score(gold, guess, average=average, zero_division=0))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(gold, guess))
    assert found["precision_macro"] == pytest.approx(
        metrics.precision_score(gold, guess, average="macro", zero_division=0)
    )
    assert found["recall_macro"] == pytest.approx(metrics.recall_score(gold, guess, average="macro", zero_division=0))
    assert found["matthews"] == pytest.approx(metrics.matthews_corrcoef(gold, guess), abs=1e-9)


@pytest.mark.parametrize("count", [2, 4])
def test_auc_is_scikit_learns(count: int) -> None:
    from sklearn.metrics import roc_auc_score

    table = classes(3000, LABELS[:count])
    scores = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, count).astype(np.float64)
    gold = [LABELS.index(name) for name in table["label"].to_pylist()]
    if count == 2:
        right = roc_auc_score(gold, scores[:, 1])
    else:
        right = roc_auc_score(gold, scores / scores.sum(1, keepdims=True), multi_class="ovr")
    assert point(one_class(LABELS[:count]), table)["roc_auc"] == pytest.approx(right, abs=2e-5)


def test_several_classes_are_scikit_learns() -> None:
    from sklearn import metrics

    random = np.random.default_rng(3)
    scores = random.random((400, 4)).astype(np.float32)
    gold, guess = random.random((400, 4)) < 0.4, scores > 0.5
    table = pa.table({
        "label": pa.array([[LABELS[at] for at in np.flatnonzero(row)] for row in gold]),
        "prediction": pa.array([[LABELS[at] for at in np.flatnonzero(row)] for row in guess]),
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), 4),
    })  # fmt: skip
    found = point(class_scores.scorer({"labels": LABELS, "problem_type": "multi_label_classification"}), table)
    for average in ("micro", "macro", "weighted", "samples"):
        right = metrics.f1_score(gold, guess, average=average, zero_division=0)
        assert found[f"f1_{average}"] == pytest.approx(right)
    assert found["precision_micro"] == pytest.approx(metrics.precision_score(gold, guess, average="micro"))
    assert found["recall_micro"] == pytest.approx(metrics.recall_score(gold, guess, average="micro"))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(gold, guess))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(gold, scores, average="macro"), abs=2e-5)


def test_numbers_are_scipys_and_scikit_learns() -> None:
    from scipy import stats
    from sklearn import metrics

    random = np.random.default_rng(4)
    gold = random.normal(3, 1, 500).round(1)
    guess = gold + random.normal(0, 0.7, 500)
    table = pa.table({"label": gold, "prediction": guess})
    found = point(class_scores.scorer({"labels": None, "problem_type": "regression"}), table)
    assert found["pearson"] == pytest.approx(stats.pearsonr(gold, guess)[0])
    assert found["spearman"] == pytest.approx(stats.spearmanr(gold, guess)[0])
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(gold, guess))
    assert found["rmse"] == pytest.approx(np.sqrt(found["mse"]))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(gold, guess))
    assert found["r2"] == pytest.approx(metrics.r2_score(gold, guess))


TAGS = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=9), min_size=1))
def test_entities_are_seqevals(rows: list[list[tuple[str, str]]]) -> None:
    from seqeval.metrics import f1_score, precision_score, recall_score

    gold, guess = [[a for a, _ in row] for row in rows], [[b for _, b in row] for row in rows]
    found = point(tag_scores.scorer({"labels": TAGS}), pa.table({"label": gold, "prediction": guess}))
    assert found["f1"] == pytest.approx(f1_score(gold, guess, zero_division=0))
    assert found["precision"] == pytest.approx(precision_score(gold, guess, zero_division=0))
    assert found["recall"] == pytest.approx(recall_score(gold, guess, zero_division=0))
    words = [a == b for row in rows for a, b in row]
    assert found["accuracy"] == pytest.approx(sum(words) / len(words))


def test_tags_without_a_scheme_are_scored_by_word() -> None:
    from sklearn.metrics import f1_score

    gold, guess = [["NOUN", "VERB"], ["NOUN"]], [["NOUN", "NOUN"], ["DET"]]
    table = pa.table({"label": gold, "prediction": guess})
    found = point(tag_scores.scorer({"labels": ["DET", "NOUN", "VERB"]}), table)
    flat = [[tag for row in each for tag in row] for each in (gold, guess)]
    assert found["f1"] == pytest.approx(f1_score(*flat, average="macro", zero_division=0))
    assert found["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("answers", "prediction", "exact", "f1"),
    [
        (["the Red Fox"], "red fox!", 1.0, 1.0),
        (["red fox", "a fox"], "fox", 1.0, 1.0),
        (["in the old town"], "old town hall", 0.0, 2 * 2 / 6),
        (["x"], "", 0.0, 0.0),
        ([], "", 1.0, 1.0),
        ([], "something", 0.0, 0.0),
        (["the"], "", 1.0, 1.0),
        (["fox fox"], "fox", 0.0, 2 / 3),
    ],
)
def test_answers_as_squad_counts_them(answers: list[str], prediction: str, exact: float, f1: float) -> None:
    table = pa.table({"answers": pa.array([answers], pa.list_(pa.string())), "prediction": [prediction]})
    found = point(answer_scores.scorer({}), table)
    assert (found["exact_match"], found["f1"]) == (exact, pytest.approx(f1))


def test_questions_without_an_answer_are_also_counted_apart() -> None:
    table = pa.table({
        "answers": pa.array([["fox"], [], []], pa.list_(pa.string())), "prediction": ["fox", "", "wall"]
    })  # fmt: skip
    found = point(answer_scores.scorer({}), table)
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert (found["has_answer_f1"], found["no_answer_exact_match"]) == (1.0, 0.5)


def texts(rows: int) -> pa.Table:
    random = np.random.default_rng(5)
    gold = [" ".join(random.choice(WORDS, random.integers(3, 12))) for _ in range(rows)]
    guess = [" ".join(w for w in text.split() if random.random() < 0.8) or "nothing" for text in gold]
    return pa.table({
        "label": gold, "prediction": guess, "nll": random.random(rows) * 9, "tokens": pa.array([7] * rows, pa.int64()),
        "correct": pa.array(random.integers(0, 7, rows)),
    })  # fmt: skip


def test_rouge_hangs_no_handler_on_the_root_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    point(text_scores.scorer({}), texts(2))
    assert logging.root.handlers == [], "every line of every library would be printed by it too"


def test_texts_are_sacrebleus_and_rouge_scores() -> None:
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    table = texts(60)
    gold, guess = table["label"].to_pylist(), table["prediction"].to_pylist()
    found = point(text_scores.scorer({}), table)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(guess, [gold]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(guess, [gold]).score)
    from absl.logging import get_absl_handler

    assert get_absl_handler().python_handler.stream is sys.__stderr__, "it would close what catches our output"
    rouge = RougeScorer(["rouge2", "rougeL"], use_stemmer=True)
    for name in ("rouge2", "rougeL"):
        each = [rouge.score(a, b)[name].fmeasure for a, b in zip(gold, guess, strict=True)]
        assert found[name] == pytest.approx(np.mean(each))
    assert found["perplexity"] == pytest.approx(np.exp(table["nll"].to_numpy().sum() / 420))


def test_texts_that_were_not_generated_are_scored_by_their_tokens() -> None:
    found = point(text_scores.scorer({}), texts(9).drop_columns(["prediction"]))
    assert set(found) == {"perplexity", "token_accuracy"}


def test_tokens_and_detection() -> None:
    counts = {"nll": [2.0, 4.0], "tokens": [2, 4], "correct": [1, 1]}
    assert point(token_scores.scorer({}), pa.table(counts)) == pytest.approx(
        {"loss": 1.0, "perplexity": np.e, "token_accuracy": 1 / 3}
    )
    more = {"detector_nll": [1.0, 3.0], "seen": [10, 10], "replaced": [2, 2], "true_positive": [1, 2],
            "false_positive": [1, 0]}  # fmt: skip
    found = point(detection_scores.scorer({}), pa.table(counts | more))
    assert found["loss"] == pytest.approx(1.0 + 50 * 0.2)
    assert (found["precision"], found["recall"], found["accuracy"]) == pytest.approx((3 / 4, 3 / 4, 18 / 20))


def test_an_interval_is_the_binomial_one() -> None:
    table = classes(2000, LABELS, skill=0.6)
    accuracy = point(one_class(LABELS), table)["accuracy"]
    low, high = intervals(one_class(LABELS), table)["accuracy"]
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 2000)
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)
    assert low < accuracy < high
    assert intervals(one_class(LABELS), table)["accuracy"] == (low, high)


def test_a_tie_is_called_a_tie() -> None:
    one, other = classes(400, LABELS), classes(400, LABELS)
    better = other.set_column(2, "prediction", other["label"])
    assert is_tie(one_class(LABELS), one, other, "accuracy")
    assert not is_tie(one_class(LABELS), one, better, "accuracy")
    with pytest.raises(ValueError, match="same rows"):
        is_tie(one_class(LABELS), one, other.slice(1), "accuracy")


def test_slices_by_words_and_by_numbers() -> None:
    table = classes(900, LABELS)
    where = pa.chunked_array([["north" if at % 3 else None for at in range(900)]])
    found = slices(one_class(LABELS), table, where)
    assert found["north"]["rows"] == 600
    north = table.take(pa.array([at for at in range(900) if at % 3]))
    assert found["north"]["accuracy"] == pytest.approx(point(one_class(LABELS), north)["accuracy"])
    quartiles = slices(one_class(LABELS), table, pa.chunked_array([list(range(900))]))
    assert [part["rows"] for part in quartiles.values()] == [225, 225, 225, 225]
    many = slices(one_class(LABELS), table, pa.chunked_array([[f"v{at % 40}" for at in range(900)]]))
    assert len(many) == 20 and sum(part["rows"] for part in many.values()) == 900 and "other" in many


def made(objective: str) -> tuple[list[dict[str, Any]], list[pa.Table]]:
    """Heads and predictions a task may have."""
    tokens = {"nll": [2.0], "tokens": [2], "correct": [1]}
    found = {"detector_nll": [1.0], "seen": [9], "replaced": [2], "true_positive": [1], "false_positive": [1]}
    single = {"labels": LABELS, "problem_type": "single_label_classification"}
    several = {"labels": LABELS, "problem_type": "multi_label_classification"}
    number = {"labels": None, "problem_type": "regression"}
    marks = classes(9, LABELS)
    both = marks.set_column(1, "label", pa.array([[name] for name in marks["label"].to_pylist()]))
    both = both.set_column(2, "prediction", both["label"])
    numbers = pa.table({"label": [1.0, 2.0, 4.0], "prediction": [1.0, 3.0, 4.0]})
    answers = pa.table({"answers": pa.array([["x"], []], pa.list_(pa.string())), "prediction": ["x", ""]})
    rewarded = pa.table({"reward": [1.0], "completion_length": [3], "truncated": [False], "reward_before": [0.5]})
    rewards = pa.table({"chosen_reward": [1.0, 0.0], "rejected_reward": [0.5, 0.0]})
    return {
        "text-classification": ([single, several, number], [marks, both, numbers]),
        "regression": ([number], [numbers]),
        "token-classification": ([{"labels": ["A", "B"]}], [pa.table({"label": [["A"]], "prediction": [["B"]]})]),
        "question-answering": ([{}], [answers]),
        "sequence-sequence": ([{}], [texts(3)]),
        "language-generation": ([{}], [pa.table(tokens)]),
        "sft": ([{}], [pa.table(tokens)]),
        "dpo": ([{}], [rewards]),
        **dict.fromkeys(("grpo", "ppo"), ([{}], [rewarded])),
        "reward": ([number], [rewards]),
        "kto": ([{}], [pa.table({"reward": [1.0, -1.0], "label": [True, False]})]),
        "language-modeling": ([{}], [pa.table(tokens)]),
        "token-detection": ([{}], [pa.table(tokens | found)]),
    }[objective]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_task_names_the_metrics_it_gives(name: str) -> None:
    objective = objective_of(name)
    given = set[str]() if objective.rl_options else {"loss"}  # of answers that a model gives itself there is none
    for head, table in zip(*made(name), strict=True):
        given |= set(point(objective.component("scorer")(head), table))
    if objective.answers:
        given |= set(point(FinalAnswers(), pa.table({"answer": ["1"], "reference": ["1"]})))
    assert given == set(objective.metric_names)


def test_tags_of_units_are_entities_of_their_own() -> None:
    labels = ["B-PER", "I-PER", "L-PER", "O", "U-PER"]
    gold = [["U-PER", "U-PER", "O", "B-PER", "L-PER"]]
    table = pa.table({"label": gold, "prediction": [["U-PER", "O", "O", "B-PER", "L-PER"]]})
    found = point(tag_scores.scorer({"labels": labels}), table)
    assert (found["precision"], found["recall"]) == (1.0, pytest.approx(2 / 3))
