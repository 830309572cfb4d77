"""`pytest --promises`: what became of each promise of README.md, one line each, after the tests that prove it."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
ROW = re.compile(r"^\| (?P<promise>[^|]+) \| (?P<proof>[^|]*`tests/[^|]+) \|$", re.MULTILINE)


def promises() -> dict[str, tuple[str, ...]]:
    """{promise: the files that prove it}, from the table of README.md."""
    table = README.read_text().partition("## Promises")[2].partition("\n## ")[0]
    return {row["promise"].strip(): tuple(re.findall(r"`(tests/[^`]+)`", row["proof"])) for row in ROW.finditer(table)}


class PromiseSummary:
    """A plugin that counts the outcomes of each file's tests."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count a test once: by its call, or by what went wrong before or after it."""
        if report.when == "call" or report.outcome != "passed":
            self.outcomes.setdefault(report.nodeid.partition("::")[0], Counter())[report.outcome] += 1

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print a line for each promise."""
        terminalreporter.section("promises")
        for promise, files in promises().items():
            counts = sum((self.outcomes.get(file, Counter()) for file in files), Counter[str]())
            state = "FAILED" if counts["failed"] else "kept" if counts["passed"] else "not run"
            numbers = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            terminalreporter.write_line(f"{state:<8} {promise} ({numbers or 'no test'})")
