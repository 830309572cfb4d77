"""Token rows are made shard by shard: killed at nine tenths, a tenth is redone; a file added, only its own is made."""

from collections import Counter
from pathlib import Path

import pytest

from tasks.artifacts.record import Record
from tests.kill.warm import Warm, warm_parent
from tests.tiny import make_config, make_rows

pytestmark = pytest.mark.slow
RUN = "tests.kill.scenes:run"
QUICK = {"train__max_steps": 2}


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


def pieces(store: Path) -> Counter[str]:
    """How many pieces each run made."""
    records = (Record.unseal(path.read_bytes()) for path in store.glob("records/s05_tokenize.pieces/*.json"))
    return Counter(record.run for record in records)


def test_killed_at_nine_tenths_a_tenth_is_redone(warm: Warm, bert: Path, tmp_path: Path) -> None:
    rows, store = make_rows(tmp_path / "rows.csv", 160), tmp_path / "store"
    whole = warm.play(
        RUN, config=make_config(bert, rows, tmp_path / "whole", **QUICK), death=("small_shards", 0)
    ).result
    total = sum(pieces(tmp_path / "whole").values())
    assert total == 20

    config = make_config(bert, rows, store, **QUICK)
    assert warm.play(RUN, config=config, death=("small_shards", 18)).code == -9
    assert sum(pieces(store).values()) == 18
    result = warm.play(RUN, config=config, death=("small_shards", 0)).result
    assert sorted(pieces(store).values()) == [2, 18]
    assert (result["weights"], result["keys"]) == (whole["weights"], whole["keys"])


def test_a_file_that_is_added_is_the_only_one_tokenized(warm: Warm, bert: Path, tmp_path: Path) -> None:
    store, files = tmp_path / "store", [make_rows(tmp_path / f"{name}.csv", 40, at) for at, name in enumerate("abc")]
    made = []
    for count in (2, 3):
        config = make_config(bert, files[0], store, **QUICK)
        config["data"] = {"train": [str(path) for path in files[:count]], "split": {"validation": 0.0}}
        warm.play(RUN, config=config)
        made.append(sum(pieces(store).values()))
    assert made == [2, 3]


def test_a_damaged_piece_is_made_again_when_it_is_needed(warm: Warm, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path, **QUICK)
    whole = warm.play(RUN, config=config).result
    for path in tmp_path.glob("records/s05_tokenize.pieces/*.json"):
        path.write_bytes(path.read_bytes()[:-9])
    for path in tmp_path.glob("records/s05_tokenize/*.json"):
        path.unlink()
    result = warm.play(RUN, config=config).result
    assert [name for name, state in result["stages"].items() if state == "built"] == ["s05_tokenize"]
    assert (result["weights"], result["keys"]) == (whole["weights"], whole["keys"])
