"""Ten times the rows, the same memory: peak RSS of processes that do nothing but score."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCORE = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from tasks.data.tables.arrow_file import open_table
from tasks.evaluation.scorers import classes, tokens
from tasks.evaluation.score import intervals, point

rows, path = int(sys.argv[1]), Path(sys.argv[2])
labels = [f"class-{at}" for at in range(20)]
schema = pa.schema([("label", pa.string()), ("prediction", pa.string()), ("probabilities", pa.list_(pa.float32(), 20))])
random = np.random.default_rng(0)
with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
    for _ in range(0, rows, 4000):
        scores = random.dirichlet(np.ones(20), 4000).astype(np.float32)
        names = [pa.array([labels[at] for at in random.integers(0, 20, 4000)]) for _ in range(2)]
        fixed = pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), 20)
        writer.write_batch(pa.record_batch([*names, fixed], schema=schema))
scorer = classes.scorer({"labels": labels, "problem_type": "single_label_classification"})
table = open_table(path)
found = point(scorer, table) | intervals(scorer, table)
mapped = path.stat().st_size  # pages of the file are the system’s, which may keep as many as it likes
print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - mapped / 2**20)
"""


def peak(rows: int, folder) -> float:
    path = folder / f"{rows}.arrow"
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(rows), str(path)], check=True, capture_output=True, text=True
    )
    found, megabytes = done.stdout.split()
    assert int(found) >= 7
    return float(megabytes)


def test_ten_times_the_rows_same_memory(tmp_path) -> None:
    few, many = peak(20_000, tmp_path), peak(200_000, tmp_path)
    assert many < few + 30, f"{few:.0f} MiB for 20,000 rows, {many:.0f} MiB for 200,000"
