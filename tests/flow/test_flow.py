"""The flow as a whole, called from Python."""

from pathlib import Path

from flows import finetune
from tasks import STAGES
from tests.tiny import make_config


def test_a_run_gives_model_and_tokenizer(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    done = finetune(make_config(bert, rows, tmp_path))
    model, tokenizer = done
    assert not model.training
    assert model.config.id2label == {0: "fruit", 1: "metal", 2: "river"}
    assert tokenizer("fruit").input_ids[1] == 5
    assert [entry.stage for entry in done.stages] == list(STAGES)
    assert {entry.state for entry in done.stages} == {"built"}
    assert done.path is None
    assert set(done.metrics) >= {"eval_accuracy", "test_accuracy", "test_loss"}
    assert "| s09_train | built |" in done.report
    again = finetune(make_config(bert, rows, tmp_path))
    assert {entry.state for entry in again.stages} == {"cached"}
