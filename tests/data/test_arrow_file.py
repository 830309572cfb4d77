"""Arrow files: equal content gives equal bytes, and opening one copies nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.data.tables.arrow_file import BATCH_ROWS, open_table, write


def table(rows: int = 50) -> pa.Table:
    return pa.table(
        {
            "text": [f"row {at}" if at % 7 else None for at in range(rows)],
            "n": pa.array([at if at % 5 else None for at in range(rows)], pa.int64()),
            "flag": [at % 3 == 0 for at in range(rows)],
            "ids": pa.array([list(range(at % 4)) for at in range(rows)], pa.list_(pa.int32())),
            "__file": pa.array(["b.csv" if at % 2 else "a.csv" for at in range(rows)]).dictionary_encode(),
        }
    )


def written(data: pa.Table, path: Path) -> bytes:
    write(data, path)
    return path.read_bytes()


def test_round_trip(tmp_path: Path) -> None:
    write(table(), tmp_path / "a.arrow")
    assert open_table(tmp_path / "a.arrow").equals(table())


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    path, data = tmp_path / "a.arrow", table()
    first = written(data, path)
    chunked = pa.concat_tables([data.slice(0, 13), data.slice(13, 20), data.slice(33)])
    assert written(chunked, path) == first
    shifted = pa.concat_tables([table(9), data]).slice(9)
    assert written(shifted, path) == first
    noted = data.replace_schema_metadata({"made": "now"})
    text = pa.field("text", pa.string(), metadata={"by": "me"})
    assert written(noted.cast(noted.schema.set(0, text)), path) == first
    files = pa.DictionaryArray.from_arrays(
        pa.array([2 if at % 2 else 1 for at in range(50)], pa.int8()), pa.array(["unused", "a.csv", "b.csv"])
    )
    assert written(data.set_column(4, "__file", files), path) == first
    garbage = pa.Array.from_buffers(pa.int64(), 50, [data["n"].chunk(0).buffers()[0], pa.py_buffer(np.full(50, 9))])
    below = np.where(data["n"].is_valid().to_numpy(), np.arange(50), 999)
    hidden = pa.Array.from_buffers(pa.int64(), 50, [garbage.buffers()[0], pa.py_buffer(below)])
    assert written(data.set_column(1, "n", hidden), path) == first


def test_other_content_gives_other_bytes(tmp_path: Path) -> None:
    data = table()
    assert written(data, tmp_path / "a.arrow") != written(data.slice(1), tmp_path / "a.arrow")


def test_opening_maps_and_batches_are_bounded(tmp_path: Path) -> None:
    data = pa.table({"n": np.arange(3 * BATCH_ROWS + 5)})
    write(data, tmp_path / "a.arrow")
    before = pa.total_allocated_bytes()
    mapped = open_table(tmp_path / "a.arrow")
    assert pa.total_allocated_bytes() - before < 10_000
    assert [len(chunk) for chunk in mapped["n"].chunks] == [BATCH_ROWS] * 3 + [5]
    assert mapped.equals(data)


def test_an_empty_table(tmp_path: Path) -> None:
    write(table(0), tmp_path / "a.arrow")
    assert open_table(tmp_path / "a.arrow").schema == table(0).schema
