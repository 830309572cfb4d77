"""Answers of the model before training beside those of the trained one."""

from pathlib import Path

from tasks.data.tables.arrow_file import open_table, write


def add_before(predictions: Path, before: Path) -> None:
    """Add the columns prediction_before and reward_before to predictions, from those of the model before training for
    the same rows."""
    table, earlier = open_table(predictions), open_table(before)
    for name in ("prediction", "reward"):
        table = table.append_column(f"{name}_before", earlier[name])
    scratch = predictions.with_suffix(".joined")
    write(table, scratch)
    scratch.replace(predictions)
