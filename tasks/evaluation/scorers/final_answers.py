"""Metrics of generated answers."""

import numpy as np
import pyarrow as pa

from tasks.evaluation.final_answer import is_same_answer
from tasks.evaluation.score import Sums, ratio


class FinalAnswers:
    """exact_match: share of rows whose `answer` and `reference` have the same final answer, from 0 to 1; see
    `tasks.evaluation.final_answer`."""

    def rows(self, batch: pa.Table) -> np.ndarray:
        pairs = zip(batch["answer"].to_pylist(), batch["reference"].to_pylist(), strict=True)
        return np.asarray([[float(is_same_answer(answer, reference)), 1.0] for answer, reference in pairs])

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        exact, total = sums.T
        return {"exact_match": ratio(exact, total)}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}
