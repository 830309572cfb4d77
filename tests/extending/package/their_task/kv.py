"""A format of records in lines `name: value`, separated by blank lines."""

import pyarrow as pa

from tasks.config.formats import Format

KV = Format("kv", (".kv", ".kv.old"), "their_task.kv:read")


def read(file):
    """Return a row for each record, at the line it begins on."""
    if (text := file.text()) is None:
        return None
    rows, places, row = [], [], {}
    for number, line in enumerate([*text.read().split("\n"), ""], 1):
        name, separator, value = line.partition(": ")
        if separator:
            places += [] if row else [number]
            row[name] = value
        elif line.strip():
            file.problems.append(f"{file.name}:{number}: is not `name: value`")
        elif row:
            rows.append(row)
            row = {}
    return pa.Table.from_pylist(rows), places
