"""The final answer of a text, and whether two texts have the same one.

The final answer is what follows `####`, as in GSM8K (Cobbe et al. 2021, arXiv:2110.14168), to the end of that line (of
several, the first before a number, as `#### Step 1` is a heading); in a text without `####` its last number; in one
without numbers the whole text. Numbers are compared by value: `1,234.0`, `$1234` and `1234.` are equal. Other texts are
compared without regard to case, extra spaces, and punctuation around them.
"""

import re
from decimal import Decimal

MARK = "####"
DIGITS = r"(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?![\d,])|\d+)(?:\.\d+)?|(?<!\d)\.\d+"
NUMBER = re.compile(rf"((?<![\w)])[-−])?(?:[$€£]\s?([-−])?)?({DIGITS})([eE][-+]?\d{{1,3}}(?!\w))?")
AROUND = " \t\n,;:!?\"'*`"


def final_answer(text: str) -> str:
    """Return the final answer of a text, as written."""
    marked = [next(iter(rest.strip().splitlines()), "").strip() for rest in text.split(MARK)[1:]]
    if marked:
        return next((each for each in marked if NUMBER.match(each.lstrip(AROUND))), marked[0])
    numbers = [found.group().strip() for found in NUMBER.finditer(text)]
    return numbers[-1] if numbers else text.strip()


def is_same_answer(answer: str, reference: str) -> bool:
    """Whether two texts have the same final answer.

    If that of `reference` is a number, the final answer of `answer` may have a unit after its number (`18 dollars`).
    """
    wanted, given = final_answer(reference), final_answer(answer)
    number = NUMBER.fullmatch(wanted.strip(AROUND).rstrip(".%"))
    if number is None:
        return normalise(given) == normalise(wanted)
    given = given.lstrip(AROUND)
    found = NUMBER.match(given)
    return found is not None and not _goes_on(given[found.end() :]) and _value(found) == _value(number)


def normalise(text: str) -> str:
    """Return lower case text without extra spaces, and without punctuation around it."""
    plain = " ".join(text.casefold().split())
    return plain.strip(AROUND + ".") or plain


def _goes_on(rest: str) -> bool:
    """Whether what follows a number makes another value of it, as in 3/4, 10:30 and 1,5."""
    return re.match(r"[/:,.^]\s?\d|\d|\s?/\s?\d", rest) is not None


def _value(found: re.Match[str]) -> Decimal:
    before, inner, digits, exponent = found.groups()
    value = Decimal(digits.replace(",", "") + (exponent or ""))
    return -value if before or inner else value
