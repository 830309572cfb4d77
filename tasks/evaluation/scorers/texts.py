"""Metrics of generated texts: ROUGE (rouge-score), BLEU and chrF (sacrebleu), and likelihood of the references."""

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def scorer(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of texts."""
    return Texts()


class Texts:
    """rouge1, rouge2, rougeL, rougeLsum (F-measure with stemming, 0 to 1, mean over rows; sentences of rougeLsum are
    lines; rouge-score reads Latin letters and digits only), bleu and chrf (0 to 100, of the corpus, with sacrebleu's
    defaults), exact_match; perplexity and token_accuracy of the references."""

    def __init__(self) -> None:
        self.produced = True

    @cached_property
    def _rouge(self) -> Any:
        from absl import logging as absl_logging
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        # absl keeps the stream that was stderr at import, and closes it when logging is set up again: in a notebook, or
        # wherever output is captured, that would be the caller's stream.
        absl_logging.get_absl_handler().python_handler.setStream(sys.__stderr__)
        # With a tokenizer given, it does not log. absl's first log line would add a handler to the root logger, and
        # all later log lines of others would be printed twice.
        return RougeScorer(list(ROUGE), tokenizer=DefaultTokenizer(use_stemmer=True))

    @cached_property
    def _corpus(self) -> tuple[Any, Any]:
        from sacrebleu.metrics import BLEU, CHRF  # pyright: ignore[reportPrivateImportUsage]

        return BLEU(), CHRF()

    def rows(self, batch: pa.Table) -> np.ndarray:
        known = np.stack([batch[name].to_numpy().astype(np.float64) for name in ("nll", "tokens", "correct")], axis=1)
        self.produced = "prediction" in batch.column_names
        if not self.produced:
            return known
        right, seen = batch["label"].to_pylist(), batch["prediction"].to_pylist()
        rouge = np.asarray([
            [score.fmeasure for score in map(self._rouge.score(gold, text).__getitem__, ROUGE)]
            for gold, text in zip(right, seen, strict=True)
        ])  # fmt: skip
        exact = np.asarray([[float(gold.strip() == text.strip()), 1.0] for gold, text in zip(right, seen, strict=True)])
        corpora = [np.asarray(metric._extract_corpus_statistics(seen, [right]), np.float64) for metric in self._corpus]
        self._widths = [corpus.shape[1] for corpus in corpora]
        return np.hstack([known, rouge, exact, *corpora])

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        nll, tokens, correct = sums[:, :3].T
        with np.errstate(over="ignore"):
            known = {"token_accuracy": ratio(correct, tokens), "perplexity": np.exp(ratio(nll, tokens))}
        if not self.produced:
            return known
        total = sums[:, 8]
        found = {name: ratio(sums[:, 3 + at], total) for at, name in enumerate(ROUGE)}
        start = 9
        for name, metric, width in zip(("bleu", "chrf"), self._corpus, self._widths, strict=True):
            counts = np.rint(sums[:, start : start + width]).astype(int).tolist()
            found[name] = np.asarray([metric._compute_score_from_stats(each).score for each in counts])
            start += width
        return {**found, "exact_match": ratio(sums[:, 7], total), **known}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}
