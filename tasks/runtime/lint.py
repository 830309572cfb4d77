"""Data checked by itself: what stage 4 finds, how long rows are in tokens, and bad rows put aside."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tasks.config import ConfigError, DataError, RunConfig
from tasks.data.say import Told, listening

Result = TypeVar("Result")
SAMPLE = 2000  # rows whose tokens are counted
PLACE = re.compile(r"^\s*(?P<file>[^\s:][^:]*):(?P<line>\d+): (?P<why>.+)$")


def putting_aside(check: Callable[[], Result], rejected: Path | None) -> Result:
    """Call `check`; the rows of the errors it raises go to `rejected` as JSON lines: file, line, why, row.

    Raises:
        DataError: what `check` found; it says where the rows went. ConfigError: there is no such folder.
    """
    if rejected is not None and not rejected.absolute().parent.is_dir():
        raise ConfigError(f"--rejected: there is no folder {str(rejected.parent)!r}")
    with listening() as told:
        try:
            return check()
        except DataError as error:
            if rejected is None:
                raise
            lines = list(_bad(str(error), told))
            rejected.write_text("".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines))
            raise DataError(f"{error}\n{len(lines)} bad rows are in {rejected}") from error


def _bad(message: str, told: Sequence[Told]) -> Iterator[dict[str, Any]]:
    seen: set[tuple[str, int]] = set()
    for each in told:
        why = next((line for line in message.splitlines() if each.said and each.said in line), None)
        if why is None or "__file" not in each.table.column_names:
            continue
        reason = why.replace(f": {each.said}", "").strip()
        for at in each.rows:
            row = {name: value[0] for name, value in each.table.slice(at, 1).to_pydict().items()}
            place = str(row.pop("__file")), int(row.pop("__row"))
            if place not in seen:
                seen.add(place)
                yield {"file": place[0], "line": place[1], "why": reason, "row": row}
    for line in message.splitlines():  # records that could not be read at all
        match = PLACE.match(line)
        if match and (match["file"], int(match["line"])) not in seen and not match["file"].startswith("data."):
            yield {"file": match["file"], "line": int(match["line"]), "why": match["why"]}


def overlong(config: RunConfig, rows: Any) -> dict[str, Any] | None:
    """Of a sample of train's rows the share over `data.max_length` tokens, by the base's own tokenizer; None where
    that is not at hand.

    Args:
        rows: prepared rows, columns named by their roles.
    """
    from tasks.models.base import base_files

    try:
        path = base_files(config.model).get("tokenizer.json")
    except ConfigError:
        return None
    limit = config.data.max_length
    names = [name for name in ("text", "question", "context", "source") if name in rows.column_names]
    if path is None or limit is None or not names:
        return None
    from tokenizers import Tokenizer

    core = Tokenizer.from_file(str(path))
    core.no_truncation()
    core.no_padding()
    step = max(1, rows.num_rows // SAMPLE)
    some = rows.select(names).take(list(range(0, rows.num_rows, step)))
    columns = [[text or "" for text in some[name].to_pylist()] for name in names]
    inputs = list(zip(*columns, strict=True)) if len(names) == 2 else columns[0]
    lengths = [len(each.ids) for each in core.encode_batch(inputs)]
    over = sum(length > limit for length in lengths)
    return {"rows": len(lengths), "longest": max(lengths, default=0), "max_length": limit,
            "share": over / max(len(lengths), 1), "overlong": config.data.overlong}  # fmt: skip
