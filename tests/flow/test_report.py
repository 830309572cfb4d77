"""The report of a run: in Python, beside the model, in Prefect; of a run that failed, too; and that it ends no run."""

import base64
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn
from urllib.request import Request, urlopen

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from transformers import TrainerState

from flows import finetune
from tasks import STAGES
from tasks.config import ModelConfig, TrainingError
from tasks.evaluation.plots import curves
from tasks.models.bases.base import known
from tasks.results.finetuned import FineTuned
from tasks.results.metadata import metadata
from tasks.results.report import Report, gather
from tasks.results.report_html import html
from tasks.results.report_markdown import duration, markdown, table_of_metrics
from tests.flow.scenes import executed, files
from tests.tiny import make_config

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, bert: Path, rows: Path) -> FineTuned:
    """A finished run with an output_dir, a best checkpoint and slices."""
    folder = tmp_path_factory.mktemp("report")
    config = make_config(bert, rows, folder / "store", eval__best="accuracy", eval__slices=["source"])
    return executed(config, f"output_dir={folder / 'out'}", "name=topics <b>|</b>")


@pytest.fixture(scope="module")
def out(done: FineTuned) -> Path:
    assert done.path is not None
    return done.path


def pictures(text: str) -> list[bytes]:
    return [base64.b64decode(found) for found in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)]


def test_the_report_says_what_the_run_was(done: FineTuned) -> None:
    text = done.report
    assert text.startswith("# topics <b>|</b>\n\ncompleted in ")
    assert "| train.learning_rate | 0.002 |" in text and "| eval.best | accuracy |" in text
    assert "train.adam_beta1" not in text and "| seed |" not in text  # nobody asked for those
    assert "| train | 58 |\n| validation | 19 |\n| test | 19 |" in text
    assert "- classes: 3" in text and "text from text" in text
    low, high = done.intervals["test_accuracy"]
    assert f"| test_accuracy | {done.metrics['test_accuracy']:.4f} | {low:.4f} to {high:.4f} |" in text
    for entry in done.stages:
        assert f"| {entry.stage} | built |" in text
    assert str(done.path) in text and "pipeline('text-classification'" in text
    assert "### By test_source" in text and "| s4 |" in text
    picture, confusion = pictures(text)
    assert (
        done.path
        and confusion == (done.path / "confusion.png").read_bytes()
        and "| class | rows | precision | recall | f1 |" in text
    )
    assert picture.startswith(PNG)


class _Page(HTMLParser):
    """Checks that tags nest, and collects what a browser would fetch."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.fetched += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] != "style":
            self.text.append(data)


def read_page(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    page.close()
    assert not page.stack
    return page


def test_report_html_needs_nothing_beside_it(done: FineTuned, out: Path) -> None:
    text = (out / "report.html").read_text()
    page = read_page(text)
    assert [each.split(",")[0] for each in page.fetched] == ["data:image/png;base64"] * 2
    assert "url(" not in text and "@import" not in text and "<script" not in text
    assert "color-scheme: light dark" in text
    said = " ".join(page.text)
    assert "topics <b>|</b>" in said  # as text, not as a tag
    for expected in (f"{done.metrics['test_accuracy']:.4f}", "train.learning_rate", "s09_train", str(out), "19"):
        assert expected in said
    assert pictures(text) == [(out / name).read_bytes() for name in ("confusion.png", "curves.png")]


def test_the_card_has_the_picture_and_the_intervals(done: FineTuned, out: Path) -> None:
    card = (out / "README.md").read_text()
    assert "\npipeline_tag: text-classification\n" in card.split("---")[1]
    assert "base_model" not in card and "\nbert (a local folder), fine-tuned for text-classification over 3" in card
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card)
    assert pictures == ["curves.png", "confusion.png"]
    assert all((out / picture).read_bytes().startswith(PNG) for picture in pictures)
    assert "### Classes of test\n\n| class | rows | precision | recall | f1 |" in card
    assert f"| {done.intervals['test_accuracy'][0]:.4f} to" in card


def test_the_hub_reads_the_header_of_the_card(done: FineTuned, out: Path) -> None:
    data = ModelCard.load(out / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.model_name) == (
        "transformers", "text-classification", "topics <b>|</b>")  # fmt: skip
    assert "accuracy" in data.metrics and "generated_from_trainer" in data.tags
    assert data.license is None and data.base_model is None and data.datasets is None
    found = {(each.dataset_split, each.metric_name): each.metric_value for each in data.eval_results}
    assert found["test", "accuracy"] == pytest.approx(done.metrics["test_accuracy"], abs=1e-6)
    assert found.keys() == {
        ({"eval": "validation", "test": "test"}[split], metric)
        for split, _, metric in (name.partition("_") for name in done.metrics) if metric != "loss"
    }  # fmt: skip


def test_metrics_of_hub_data_sets() -> None:
    sources = {
        "data.train": "hf:acme/news:en@v1 at commit abc, hf:acme/more at commit def",
        "data.test": "hf:acme/hard#dev at commit abc",
    }
    metrics = {"eval_f1_macro": 0.5, "test_matthews": 0.25, "test_roc_auc": None, "test_loss": 1.0}
    text = metadata("m", "text-classification", "", "acme/base", "lora", metrics, sources, {"license": "mit"})
    data = ModelCardData(**yaml.safe_load(text))
    assert data.datasets == ["acme/news", "acme/more", "acme/hard"] and "lora" in data.tags
    assert (data.base_model, data.license, data.library_name, data.pipeline_tag) == ("acme/base", "mit", "peft", None)
    validation, test = data.eval_results
    assert (validation.dataset_type, validation.dataset_config, validation.dataset_split) == (
        "acme/news", "en", "validation")  # fmt: skip
    assert (validation.metric_type, validation.metric_args) == ("f1", {"average": "macro"})
    assert (test.dataset_type, test.dataset_split, test.metric_type) == ("acme/hard", "dev", "matthews_correlation")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\nlanguage: [de, fr]\ntags: [x]\n---\n", {"license": "mit", "language": ["de", "fr"]}),
        ("---\nlicense: other\nlicense_name: own\nlanguage: no\n---\n", {"license": "other", "license_name": "own"}),
        ("---\nlicense: [\n---\n", {}),
        ("---\n- mit\n---\n", {}),
        ("no header", {}),
    ],
)
def test_license_and_language_are_those_of_the_base(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text)
    assert known(ModelConfig(name=str(tmp_path))) == expected


def test_results_are_where_the_trainer_puts_them(done: FineTuned, out: Path) -> None:
    found = {name: json.loads((out / f"{name}_results.json").read_text()) for name in ("all", "train", "eval", "test")}
    assert found["all"] == {**found["train"], **found["eval"], **found["test"]}
    assert found["train"].keys() >= {"train_loss", "train_runtime", "total_flos", "train_samples", "epoch"}
    assert found["test"] == {
        **{name: value for name, value in done.metrics.items() if name.startswith("test_")},
        "test_samples": 19, "epoch": 2.0,
    }  # fmt: skip
    kept = json.loads((done._open("s12_handoff").path("report.json")).read_text())["model"]
    assert "README.md" in kept and not {name for name in kept if name.endswith("_results.json")}  # they contain times


def test_the_folder_has_the_state_of_the_trainer(done: FineTuned, out: Path) -> None:
    state = TrainerState.load_from_json(str(out / "trainer_state.json"))
    assert state.global_step == done.state.global_step > 0 and state.log_history == done.history


def test_a_run_that_finds_everything_leaves_the_report_of_the_one_that_made_it(done: FineTuned, out: Path) -> None:
    before = (out / "report.html").read_bytes()
    config = json.loads((Path(done._context.store.root) / "runs" / f"{done.run}.json").read_text())["config"]
    again = executed(config)
    assert {entry.state for entry in again.stages} == {"cached"}
    assert f"hit {again.stages[0].key[:8]}, built by run {done.run}" in again.report
    assert (out / "report.html").read_bytes() == before
    (out / "report.html").unlink()
    executed(config)
    assert (out / "report.html").exists()  # as after a kill between the model and its report


def test_the_record_outlives_the_artifacts(done: FineTuned) -> None:
    store = done._context.store
    record = json.loads(store.backend.read(f"runs/{done.run}.json"))
    record["stages"] = [{**entry, "key": "0" * 64} for entry in record["stages"]]  # as after `finetune gc`
    report = gather(store, record)
    assert report.metrics == done.metrics and report.intervals.keys() == done.intervals.keys()
    assert report.rows == {"train": 58, "validation": 19, "test": 19}
    assert report.curves is None and "Loss and metrics" not in markdown(report)
    assert "preview" not in report.data  # rows of the user's have no place in a record
    read_page(html(report))


def test_a_metric_that_is_not_a_number() -> None:
    report = Report({"run": "r", "config": {"task": "regression"}}, metrics={"eval_pearson": None, "eval_mse": 1.5})
    assert json.dumps(table_of_metrics(report), allow_nan=False)
    assert "| eval_pearson | not a number |" in markdown(report)
    assert "not a number" in html(report)
    assert report.main == "eval_mse"  # the first of the task that can be told


def test_duration() -> None:
    assert [duration(seconds) for seconds in (3.14, 75.2, 3725, None)] == ["3.1 s", "1 min 15 s", "1 h 2 min", ""]


# -- the picture ----------------------------------------------------------------------------------------------------

HISTORY: list[dict[str, Any]] = [
    *({"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in range(1, 20)),
    *({"step": step, "eval_loss": 1.5 / step, "eval_accuracy": step / 20, "eval_f1": None} for step in (5, 10, 15)),
]


def test_the_same_history_is_the_same_picture() -> None:
    one, other = curves(HISTORY, ["accuracy", "f1"]), curves(list(HISTORY), ["accuracy", "f1"])
    assert one is not None and one.startswith(PNG) and one == other
    assert b"Software" not in one and b"Creation" not in one
    assert curves(HISTORY, ["accuracy"], best="accuracy") != one  # it marks the best


def test_nothing_is_drawn_of_nothing() -> None:
    assert curves([], ["accuracy"]) is None
    assert curves([{"step": 1, "loss": 0.5}, {"step": 1, "train_runtime": 3.0}], ["accuracy"]) is None


def test_a_run_too_short_for_a_picture_has_none(bert: Path, rows: Path, tmp_path: Path) -> None:
    done = executed(make_config(bert, rows, tmp_path / "store", train__max_steps=1), f"output_dir={tmp_path / 'out'}")
    assert done.path is not None and "curves.png" not in files(done.path)
    assert "curves" not in (done.path / "README.md").read_text() and "![Loss" not in done.report
    read_page((done.path / "report.html").read_text())


def test_what_cannot_be_drawn_ends_no_run(
    prefect_api: str,
    bert: Path,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tasks.s11_save.training_curves", refuse)
    monkeypatch.setattr("tasks.results.publish.html", refuse)
    done = executed(make_config(bert, rows, tmp_path / "store", train__max_steps=2), f"output_dir={tmp_path / 'out'}")
    assert done.promoted and "report.html" not in files(tmp_path / "out")
    assert "drawing curves.png failed and is skipped: RuntimeError: no" in caplog.text
    assert "report.html failed and is skipped: RuntimeError: no" in caplog.text


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("no")


# -- Prefect --------------------------------------------------------------------------------------------------------


def artifacts(url: str, run: str) -> dict[str, dict[str, Any]]:
    """The artifacts of a flow run by key."""
    flow = post(url, "flow_runs", {"flow_runs": {"name": {"any_": [run.rsplit("-", 1)[0]]}}})[0]
    return {
        each["key"]: each for each in post(url, "artifacts", {"artifacts": {"flow_run_id": {"any_": [flow["id"]]}}})
    }


def post(url: str, kind: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    request = Request(f"{url}/{kind}/filter", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as response:
        return json.load(response)


def test_prefect_shows_report_metrics_and_links(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path / "store") | {"output_dir": str(tmp_path / "out")}
    done = finetune(config)
    found = artifacts(prefect_api, done.run)
    assert found.keys() >= {"report", "metrics", "model", "report-file"}
    assert found["report"]["type"] == "markdown" and "| s12_handoff | built |" in found["report"]["data"]
    assert pictures(found["report"]["data"])[0].startswith(PNG)
    table = {row["metric"]: row for row in json.loads(found["metrics"]["data"])}
    assert table["test_accuracy"]["value"] == pytest.approx(done.metrics["test_accuracy"], abs=1e-6)
    assert table["test_accuracy"]["95 % from"] == pytest.approx(done.intervals["test_accuracy"][0], abs=1e-6)
    assert (tmp_path / "out").as_uri() in found["model"]["data"]
    assert (tmp_path / "out" / "report.html").as_uri() in found["report-file"]["data"]


def diverge(build: Any, **_: Any) -> NoReturn:
    raise TrainingError("the loss is not finite since step 3")


def test_a_run_that_fails_says_where_why_and_what_to_do(
    prefect_api: str, bert: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(bert, rows, tmp_path / "store", name="doomed")
    with pytest.raises(TrainingError, match="not finite"):
        finetune(config, stages={"s09_train": diverge})
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "store" / "runs").glob("*.json")]
    assert record["state"] == "failed"
    assert record["failure"] == {
        "stage": "s09_train", "kind": "TrainingError", "message": "the loss is not finite since step 3"
    }  # fmt: skip
    report = artifacts(prefect_api, record["run"])["report"]["data"]
    assert "**Ended at s09_train**: TrainingError" in report and "the loss is not finite since step 3" in report
    assert "Run it again" in report and "| s08_trainer | built |" in report and "s10" not in report


def test_prefect_failing_ends_no_run(
    prefect_api: str, bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    import prefect.artifacts

    monkeypatch.setattr(prefect.artifacts, "create_markdown_artifact", refuse)
    done = finetune(make_config(bert, rows, tmp_path / "store", train__max_steps=1))
    assert [entry.stage for entry in done.stages] == list(STAGES)
    assert artifacts(prefect_api, done.run).keys() >= {"metrics"}
    assert "Prefect's artifact 'report' failed and is skipped" in caplog.text
