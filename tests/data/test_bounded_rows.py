"""A gigabyte passes `finetune lint`, its tokens counted, in a process that may allocate 600 MB.

The limit is RLIMIT_DATA: what a process takes for itself. Pages of mapped files are not counted by it; they are the
system's, which takes them back when it needs them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.served import HANG

pytestmark = pytest.mark.slow
LIMIT, ROWS = 600 * 2**20, 1_900_000

LINT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]),) * 2)
from flows.cli import main
sys.exit(main(["lint", sys.argv[1], "--json"]))
"""


def write(path: Path, rows: int) -> None:
    """`text,label`, half a kilobyte a row, told apart by its number."""
    words = "a question about an order that has not come yet and what is to be done about it now " * 7
    with path.open("w") as file:
        file.write("text,label\n")
        for start in range(0, rows, 10_000):
            some = range(start, start + 10_000)
            file.writelines(f"{at} {words[at % 50 : at % 50 + 520]},{'abc'[at % 3]}\n" for at in some)


@pytest.mark.parametrize("limit", [LIMIT])
def test_a_gigabyte_under_600_megabytes(limit: int, bert: Path, tmp_path: Path) -> None:
    data, config = tmp_path / "rows.csv", tmp_path / "config.yaml"
    write(data, ROWS)
    assert data.stat().st_size > 10**9
    config.write_text(f"model: {bert}\ndata: {{train: {data}, split: {{validation: 0.1}}}}\n"
                      f"store: {{root: {tmp_path / 'store'}}}\n")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LINT, str(config), str(limit)], capture_output=True, text=True, timeout=HANG,
        env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert f'"train": {ROWS * 9 // 10}' in done.stdout and '"tokens": {"rows": ' in done.stdout
