"""What a sweep makes of a future's answers."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.runtime.parallel.fanout import _outcome_of


class Future:
    """A future that gives, or raises, one thing after another."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def result(self, timeout: float, raise_on_failure: bool) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


DONE, LOST = {"state": "completed"}, {"state": "failed", "error": "its worker ended: gone"}


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([DONE], DONE),
        ([TimeoutError()], None),
        ([UnboundLocalError("result"), DONE], DONE),
        ([UnboundLocalError("result"), TimeoutError()], None),
        ([RuntimeError("gone")] * 3, LOST),
    ],
)
def test_one_failed_poll_is_no_failed_cell(answers: list[Any], outcome: dict[str, str] | None) -> None:
    assert _outcome_of(Future(*answers)) == outcome
