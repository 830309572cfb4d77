"""What the data room's tests share: files written in place, and real data sets where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.data.sources.locate import Source
from tasks.data.sources.read import Read, read

Put = Callable[[str, str | bytes], Source]
RealData = Callable[[str], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write one file below the test's folder and return it as a Source."""

    def write(name: str, content: str | bytes) -> Source:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Source(path, name)

    return write


@pytest.fixture
def rows(put: Put) -> Callable[..., pa.Table]:
    """A table with lineage, read from CSV text."""

    def table(text: str, name: str = "a.csv") -> pa.Table:
        result: Read = read([put(name, text)])
        return result.table

    return table


@pytest.fixture
def real() -> RealData:
    """A file of the real data sets, or a skip that says where they were looked for."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    root = Path(os.environ.get("FINETUNE_TEST_DATA", beside))

    def path(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"no {name} in {root} (set FINETUNE_TEST_DATA)")
        return root / name

    return path
