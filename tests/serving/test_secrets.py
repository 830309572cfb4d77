"""Secrets are named, never given: a canary is looked for wherever a run writes."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows import finetune, grid
from flows.sweep.report import summary
from tasks.config import ConfigError, FinetuneError
from tests.served import Served, parameters, until

pytestmark = pytest.mark.slow
CANARY = "c4n4ry-8f3a-never-to-be-seen"
LENT, KEPT = f"{CANARY}-of-a-block", f"{CANARY}-of-the-environment"
PUT = "import sys; from prefect.blocks.system import Secret; Secret(value=sys.argv[1]).save(sys.argv[2])"


@pytest.fixture(scope="module")
def block(served: Served) -> None:
    """The secret lies in a block of the server."""
    api = {**served.environment, "PREFECT_API_URL": served.url}
    subprocess.run([sys.executable, "-c", PUT, LENT, "canary"], env=api, check=True, capture_output=True)


@pytest.fixture
def canary(served: Served, block: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another lies in this process's environment."""
    monkeypatch.setenv("PREFECT_API_URL", served.url)
    monkeypatch.setenv("MY_PASSWORD", KEPT)


def seen(*places: Path) -> list[str]:
    """Files in which the canary stands; of a database, tables and columns."""
    found = []
    for path in (path for place in places for path in ([place] if place.is_file() else place.rglob("*"))):
        if path.suffix == ".db":
            found += [f"{path.name}: {where}" for where in rows_with(path)]
        elif path.is_file() and CANARY.encode() in path.read_bytes():
            found.append(str(path))
    return found


def rows_with(database: Path) -> list[str]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [table for table in tables if CANARY in str(connection.execute(f'SELECT * FROM "{table}"').fetchall())]


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE a (b)")
        connection.execute("INSERT INTO a VALUES (?)", (f"x{CANARY}",))
    (tmp_path / "y").write_text(CANARY)
    assert len(seen(tmp_path)) == 2


def test_a_run_gets_its_secret_and_tells_nobody(
    served: Served, canary: None, bert: Path, rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str | None] = []

    def look(build, *, seed):  # type: ignore[no-untyped-def]
        from tasks.artifacts.formats import json

        told.append(os.environ.get("LENT"))
        build.info(f"a careless stage says {os.environ['LENT']} and {os.environ['MY_PASSWORD']}")
        json.write({"model": seed, "train": seed}, build.out / "seeds.json")
        return {}

    given = parameters(bert, rows, tmp_path / "store", 2, secrets={"LENT": "canary"}, output_dir=str(tmp_path / "out"))
    done = finetune(given, stages={"s02_seed": look})
    assert told == [LENT]
    assert "LENT" not in os.environ
    assert CANARY not in done.report + "".join(capfd.readouterr())
    keys = {entry.stage: entry.key for entry in done.stages}
    again = finetune(given | {"secrets": {}}, stages={"s02_seed": look})
    assert {entry.stage: entry.key for entry in again.stages} == keys, "secrets stand in no key"
    run = served.create(given)  # and by a worker
    assert served.end(run) == "Completed", served.log()
    assert "canary" in (tmp_path / "out" / "config.resolved.yaml").read_text()  # the name is no secret
    assert not seen(tmp_path, served.place)


@pytest.mark.parametrize("source", ["LENT", "MY_PASSWORD"])
def test_an_error_does_not_tell(
    served: Served, canary: None, bert: Path, rows: Path, tmp_path: Path, source: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worst case: the file a run cannot find, or the database it cannot read, has the secret in its name."""
    given = parameters(bert, rows, tmp_path / "store", 2, secrets={"LENT": "canary"})
    given["data"] = {"train": f"sql:sqlite:///{tmp_path}/${source}.db::SELECT 1"}
    with pytest.raises(FinetuneError) as error:
        finetune(given)
    assert f"/${source}.db" in str(error.value), "the name is said, never the value"
    assert CANARY not in str(error.value) + "".join(capfd.readouterr())
    run = served.create(given)
    assert served.end(run) == "Failed"
    assert CANARY not in served.state(run)[1]
    assert not seen(tmp_path, served.place)


CARELESS = """
import logging, os

def tell(predictions, references):
    print("printed:", os.environ["LENT"])
    logging.getLogger("tasks.careless").warning("logged: %s", os.environ["LENT"])
    raise ValueError(f"raised: {os.environ['LENT']} and {os.environ['MY_PASSWORD']}")
"""


def test_a_sweep_does_not_tell_of_its_green_and_red_cells(
    served: Served, canary: None, bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One cell has a metric that tells wherever it can, another a database that cannot be read."""
    code = tmp_path_factory.mktemp("careless")
    (code / "careless.py").write_text(CARELESS)
    monkeypatch.setenv("PYTHONPATH", str(code), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(code))
    store, out = tmp_path / "store", tmp_path / "out"
    given = parameters(bert, rows, store, 2, secrets={"LENT": "canary"}, output_dir=str(out))
    given["eval"] = {"metrics": ["careless:tell"]}
    given["sweep"] = {"grid": {"data.train": [str(rows), f"sql:sqlite:///{tmp_path}/$LENT.db::SELECT 1"]}}
    done = grid(given)
    assert [done.outcomes[cell.index].state for cell in done.cells] == ["completed", "failed"]
    assert "/$LENT.db" in str(done.outcomes[1].error), "the name is said, never the value"
    places = [store / "grids" / f"{done.run}.json", out / "grid" / "grid.html", out / "grid" / "leaderboard.parquet"]
    assert all(place.is_file() for place in places)
    runs = served.runs()
    sweep = next(run["id"] for run in runs if run["flow_id"] and done.run.startswith(run["name"]))
    assert "/$LENT.db" in served.artifact(sweep, "leaderboard")["data"]
    cells = [run["id"] for run in served.cells(sweep)]
    until(lambda: any("ValueError: raised: (a secret) and (a secret)" in line for line in served.lines(*cells)))
    assert CANARY not in json.dumps(summary(done)) + repr(done.table.to_pylist()) + "".join(capfd.readouterr())
    assert not seen(tmp_path, served.place)


def test_s3_that_refuses_does_not_tell(
    served: Served, canary: None, bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that open nothing: the endpoint answers every request with 403."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # one that another test made knows another endpoint
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "0")
    given = parameters(bert, rows, tmp_path / "store", 2)
    given["secrets"] = {"AWS_SECRET_ACCESS_KEY": "canary", "AWS_ACCESS_KEY_ID": "canary"}
    given["data"] = {"train": "s3://nowhere/rows.csv"}
    try:
        with pytest.raises(FinetuneError) as error:
            finetune(given)
    finally:
        server.stop()
    assert "s3://nowhere/rows.csv" in str(error.value)
    assert CANARY not in str(error.value)
    assert not seen(tmp_path, served.place)


def test_a_block_that_is_not_there_is_named(canary: None, bert: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"secrets\.TOKEN: .* no Secret block 'nothing'"):
        finetune(parameters(bert, rows, tmp_path / "store", 2, secrets={"TOKEN": "nothing"}))
