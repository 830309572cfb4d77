"""A store on S3 (moto's server, on this machine): the same run, the same hits, and a training that resumes from it."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from s3fs import S3FileSystem

from flows.pipeline import pipeline
from tasks.config import RunConfig
from tasks.config.errors import Interrupted
from tasks.execution.execute import execute
from tests.tiny import make_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of the test's own; its server is known to this test only."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # fsspec read its environment when it was imported
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": endpoint})
    name = tmp_path.name.replace("_", "-")
    S3FileSystem.clear_instance_cache()
    fsspec.filesystem("s3").mkdir(name)
    yield f"s3://{name}/store"
    S3FileSystem.clear_instance_cache()


def test_a_run_on_s3_and_its_hits(bucket: str, bert: Path, rows: Path) -> None:
    config = RunConfig.model_validate(make_config(bert, rows, bucket))
    assert {entry.state for entry in execute(config, pipeline).stages} == {"built"}
    again = execute(config, pipeline)
    assert {entry.state for entry in again.stages} == {"cached"}
    assert not again.model.training


def test_a_training_resumes_from_s3(
    bucket: str, bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is lost after a checkpoint: what it had locally is gone, what it kept on S3 is enough."""
    from tasks.training.callbacks.control import Cadence
    from tasks.training.checkpoints import newest_whole

    def config(root: str) -> RunConfig:
        more = {"train__save_strategy": "steps", "train__save_steps": 3, "seed": 7}
        return RunConfig.model_validate(make_config(bert, rows, root, **more))

    whole = execute(config(str(tmp_path / "whole")), pipeline).artifacts["s09_train"]

    def lose(self: Cadence, args: object, state: object, control: object, **_: object) -> None:
        raise Interrupted("the machine is lost")

    with monkeypatch.context() as patch:
        patch.setattr(Cadence, "on_save", lose)
        with pytest.raises(Interrupted):
            execute(config(bucket), pipeline)
    found: list[Path | None] = []

    def note(folder: Path) -> Path | None:
        found.append(newest_whole(folder))
        return found[-1]

    monkeypatch.setattr("tasks.training.run.newest_whole", note)
    resumed = execute(config(bucket), pipeline).artifacts["s09_train"]
    assert resumed.members["model.safetensors"].sha256 == whole.members["model.safetensors"].sha256
    assert [checkpoint.name for checkpoint in found if checkpoint] == ["checkpoint-3"]
    fs, path = fsspec.core.url_to_fs(bucket)
    fs.invalidate_cache()
    assert not [name for name in fs.find(path) if "/work/" in name or "/leases/" in name]
