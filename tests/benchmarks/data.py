"""How fast data is checked and tokenized, as ratios within one run: `make bench`.

Lint against reading the file (csv module), and tokenization against the tokenizer's own batch call, each on one core.
"""

import csv
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

ROWS, ROUNDS = 200_000, 3


def cpu(act: Callable[[], object]) -> float:
    """CPU seconds of the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_SELF)
        act()
        after = resource.getrusage(resource.RUSAGE_SELF)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def write(path: Path) -> None:
    words = [f"{start}{end}" for start in "bcdfgklmnprst" for end in ("al", "en", "ir", "os", "um")]
    with path.open("w") as file:
        file.write("text,label\n")
        file.writelines(f"question {at} {' '.join(words[at % 50 : at % 50 + 9])},{at % 7}\n" for at in range(ROWS))


def plain_read(path: Path) -> None:
    with path.open() as file:
        assert sum(1 for _ in csv.reader(file)) == ROWS + 1


def check(path: Path) -> None:
    from tasks.config import RunConfig
    from tasks.data.sources.locate import locate
    from tasks.data.sources.read import read
    from tasks.objectives import objective_of

    data = RunConfig.model_validate({"model": "none", "data": {"train": str(path)}}).data
    objective = objective_of("text-classification")
    found = objective.component("prepare")(
        {"train": read(locate(str(path), "data.train")).table}, data, objective.roles
    )
    assert sum(table.num_rows for table in found.splits.values()) == ROWS


def tokenize(path: Path, folder: Path) -> tuple[float, float]:
    """CPU seconds of our encoder and of the tokenizer's own batch call."""
    from transformers import AutoTokenizer

    from tasks.data.sources.locate import locate
    from tasks.data.sources.read import read
    from tasks.data.tokens.encode import encode_text
    from tests.tiny import make_bert

    tokenizer = AutoTokenizer.from_pretrained(make_bert(folder / "bert"))
    rows = read(locate(str(path), "data.train")).table
    texts = rows["text"].to_pylist()
    core = tokenizer.backend_tokenizer
    core.enable_truncation(64)
    shape = {"max_length": 64, "overlong": "truncate"}
    ours = cpu(lambda: encode_text(rows.drop_columns(["label"]), tokenizer, shape, "data.train", False))
    theirs = cpu(lambda: core.encode_batch_fast(texts))
    return ours, theirs


def main() -> None:
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write(path)
        reading, checking = cpu(lambda: plain_read(path)), cpu(lambda: check(path))
        print(f"lint: {ROWS / checking:,.0f} short rows a CPU second, {checking / reading:.1f} x reading the file")
        ours, theirs = tokenize(path, Path(folder))
        print(f"tokenization: {ROWS / ours:,.0f} rows a CPU second, {ours / theirs:.2f} x the tokenizer's own batch")


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
