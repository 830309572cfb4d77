"""Final answers: what of a text is compared, and when two are the same."""

import pyarrow as pa
import pytest

from tasks.evaluation.final_answer import final_answer, is_same_answer
from tasks.evaluation.score import point
from tasks.evaluation.scorers.final_answers import FinalAnswers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She has 16 - 3 = 13 eggs.\n#### 18", "18"),
        ("#### 18\n\nQuestion: more #### 7", "18"),
        ("####\n 18 dollars \n", "18 dollars"),
        ("#### Step 1\n16 - 3 = 13\n#### **13**", "**13**"),
        ("####", ""),
        ("first 3, then 1,234.50.", "1,234.50"),
        ("10-3", "3"),
        ("x = -3", "-3"),
        ("-$5 or −7", "−7"),
        ("(1,2)", "2"),
        ("  No number. ", "No number."),
        ("", ""),
    ],
)
def test_what_is_compared(text: str, found: str) -> None:
    assert final_answer(text) == found


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("so #### 18.0", "#### 18"), ("#### $1,234", "#### 1234"), ("the answer is 1,234.00.", "#### 1234"),
        ("#### 18 dollars", "#### 18"), ("#### **18**", "#### 18"), ("#### 18.", "#### 18"), ("#### -$5", "#### $-5"),
        ("#### −5", "#### -5"), ("#### 50%", "#### 50"), ("#### 50", "#### 50%"), (".5", "0.50"), ("1e3", "1000"),
        ("#### 1,00,000", "100000"), ("Paris.", "paris"), ("A", "a."), ("so #### (B)", "#### (b)"),
        ("#### 3/4", "#### 3/4"), ("", ""),
    ],
)  # fmt: skip
def test_equal_answers(answer: str, reference: str) -> None:
    assert is_same_answer(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("#### 19", "#### 18"), ("#### 18.5", "#### 18"), ("#### 3/4", "#### 3"), ("#### 10:30", "#### 10"),
        ("#### 1,5", "#### 1"), ("-5", "5"), ("", "0"), ("####", "#### 18"), ("#### eighteen", "#### 18"),
        ("#### 2 Samuel", "#### 2 Kings"), ("A", "the"), ("C++", "C"), ("B", "C"), ("", "A"),
    ],
)  # fmt: skip
def test_different_answers(answer: str, reference: str) -> None:
    assert not is_same_answer(answer, reference)


def test_exact_match_is_a_share() -> None:
    table = pa.table({"answer": ["#### 1", "2", "x", "no"], "reference": ["1", "#### 3", "x.", "yes"]})
    assert point(FinalAnswers(), table) == {"exact_match": 0.5}
