"""The page about a run, in a real browser."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.data.prepared_data import ImageCounts, PreparedData, SplitCounts
from tasks.debugger.stage import DebuggedJob
from tasks.nightly.held_back import FirstNight
from tasks.pipeline.report import write_report
from tasks.pipeline.results import (
    costs_of,
    tell_debugging,
    tell_deployment,
    tell_evaluation,
    tell_night,
    tell_preparation,
    tell_registration,
    tell_training,
    tell_tuning,
)
from tasks.pipeline.stages import STAGES
from tasks.prices import Cost, summed
from tasks.release.deployment import Deployment
from tasks.release.registry import RegisteredModel
from tasks.release.smoke import SmokeTest
from tasks.run_record import Run
from tasks.run_table import rows
from tasks.runs import open_run
from tasks.settings import Settings
from tasks.training_job import TrainedModel
from tasks.tuning import TunedHyperparameters
from tasks.tuning_picture import Trial
from tests.browser import chromium
from tests.tasks.evaluation.looks import evaluated_model
from tests.tasks.test_run_record import Parameters

COUNTS = {count: 300 * count for count in range(1, 6)}
CSV = """rank,bin,bucket,key,expected,counted,probability_of_mismatch,verdict
1,b1,bins,night/bin-images/00523.jpg,5,2,0.8123,mismatch
2,b2,bins,night/bin-images/<i>odd.jpg,4,3,0.2000,uncertain
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has done nothing yet."""
    begun = open_run(Settings(home=tmp_path), "full_pipeline", Parameters())
    begun.record(source="s3://photos-&-<more>")
    return begun


def do_everything(run: Run) -> None:
    """All stages, with results made up."""
    data = PreparedData(
        dataset="abid", folder=run.folder, catalog=run.folder / "catalog.parquet", uri="s3://b/datasets/abid",
        digest="ab" * 32, splits=SplitCounts(train=4500, valid=150, test=150, grouped=True),
        images=ImageCounts(listed=4810, downloaded=4810, reused=0, missing=7, corrupt=3, label_mismatch=2),
        counts={"train": COUNTS, "valid": dict.fromkeys(COUNTS, 30), "test": dict.fromkeys(COUNTS, 30)},
    )  # fmt: skip
    trials = [
        Trial(
            name=f"trial-{n}", lr=0.001 * 3**n, batch_size=32 * (1 + n % 2), objective=1.4 + 0.1 * n, status="Completed"
        )
        for n in range(4)
    ]
    billed = Cost(instance="ml.g5.xlarge", billable_seconds=1200)
    best = TunedHyperparameters(
        job_name="b261125-000000-hpo-01234567",
        jobs=4,
        objective=1.4,
        lr=0.001,
        batch_size=32,
        cost=billed,
        trials=trials,
    )
    phases = {"train": 900.0, "eval": 60.0, "data": 10.0, "other": 80.0}
    trained = TrainedModel(job_name="the-job", archive="s3://b/m", seconds=1050, phases=phases, metrics={}, cost=billed)
    rules = {"Overfit": "IssuesFound", "DeadRelu": "NoIssuesFound", "LowGPUUtilization": "NotEvaluated"}
    debugged = DebuggedJob(
        job_name="the-job", report=run.folder / "debugger.html", rules=rules, idle=0.086,
        advice={"Overfit": "Raise `weight_decay`."},
    )  # fmt: skip
    model = RegisteredModel(
        arn="arn:aws:sagemaker:us-east-1:000000000000:model-package/binventory/7", version=7, status="Approved",
        name="binventory-x", uri="s3://b/models/x/model.tar.gz", reason="above the floors", facts={},
    )  # fmt: skip
    smoke = SmokeTest(photos=20, equal=20, largest_difference=0.0001)
    deployed = Deployment(name="binventory", status="InService", smoke=smoke, seconds=44.0, instance="ml.m5.large")
    night = FirstNight(
        prefix="s3://b/n/",
        counted=150,
        match=140,
        mismatch=1,
        uncertain=9,
        unreadable=0,
        equal=150,
        largest_difference=0,
        cost=billed,
    )
    results: dict[str, tuple[Any, Any]] = {
        "prepare": (data, tell_preparation),
        "tune": (best, tell_tuning),
        "train": (trained, tell_training),
        "debug": (debugged, tell_debugging),
        "evaluate": (evaluated_model(), tell_evaluation),
        "register": (model, tell_registration),
        "deploy": (deployed, tell_deployment),
        "night": (night, tell_night),
    }
    (run.folder / "night").mkdir()
    for page in ("evaluation.html", "debugger.html", "night/report.html"):
        (run.folder / page).write_text("<h1>a page</h1>")
    (run.folder / "night" / "exceptions.csv").write_text(CSV)
    for stage, (result, tell) in results.items():
        run.do(stage, lambda result=result: result, tell)  # type: ignore[misc]
    run.record(stages=dict(zip(results, (31, 620, 1100, 2, 45, 3, 60, 55), strict=True)), seconds=1916)
    run.record(**costs_of(run))
    assert tuple(results) == STAGES


def test_the_page_says_what_every_stage_came_to_and_asks_nobody(run: Run) -> None:
    do_everything(run)
    page = write_report(run)
    asked: list[str] = []
    errors: list[str] = []
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1100, "height": 900})
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        text = tab.inner_text("body")
        sections = tab.eval_on_selector_all("section", "all => all.map(each => each.id)")
        assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        widths = [tab.evaluate("document.documentElement.scrollWidth")]
        shots = os.environ.get("BINVENTORY_SCREENSHOTS")
        if shots:
            tab.screenshot(path=f"{shots}/pipeline.png", full_page=True)
        tab.set_viewport_size({"width": 390, "height": 800})
        widths.append(tab.evaluate("document.documentElement.scrollWidth"))
        if shots:
            tab.screenshot(path=f"{shots}/pipeline-phone.png", full_page=True)
        tab.click("text=Evaluation, with the worst errors")
        assert tab.inner_text("h1") == "a page"
        links = tab.go_back() and tab.eval_on_selector_all("nav a", "all => all.map(each => each.getAttribute('href'))")
    assert links == ["evaluation.html", "debugger.html", "night/report.html", "night/exceptions.csv", "summary.json"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert errors == []
    assert widths[0] <= 1100
    assert widths[1] <= 390, "the page scrolls sideways on a phone"
    assert sections == ["stages", "data", "tuning", "evaluation", "debugger", "model", "night", "cost"]
    assert "s3://photos-&-<more>" in text
    for told in ("4,810 photos", "1,500", "55.67%", "Raise weight_decay", "model-package/binventory/7", "20 of 20"):
        assert told in text.replace("4,810 were", "4,810 photos were"), told
    assert "00523.jpg" in text
    assert "81.2%" in text
    assert "<i>odd.jpg" in text
    assert "1.4079" in text  # 3 x 1200 s at 1.408 dollars an hour
    assert "0.115 US dollars an hour for each ml.m5.large" in text


def test_the_page_tells_known_costs_beside_unknown_ones(run: Run) -> None:
    costs = {
        "tune": Cost(instance="ml.x9.huge", billable_seconds=60),
        "train": Cost(instance="ml.g5.xlarge", billable_seconds=60),
    }
    run.record(cost=summed(costs))
    page = write_report(run).read_text()
    assert re.search(
        "<td>ml.x9.huge</td>.*not in the list.*<td>ml.g5.xlarge</td>.*0.0235.*all with a price", page, re.DOTALL
    )
    assert "list prices of us-east-1 in 20" in page


def test_every_stage_has_a_line_in_the_table(run: Run) -> None:
    do_everything(run)
    assert [stage for stage, _, _ in rows(run.summary)] == [*STAGES]


def test_the_log_and_the_table_count_the_same_rules() -> None:
    rules = {"Overfit": "IssuesFound", "DeadRelu": "NoIssuesFound", "LowGPUUtilization": "NotEvaluated"}
    debugged = DebuggedJob(job_name="x", report=Path("x"), rules=rules, advice={}, idle=None)
    table = rows({"stages": {"debug": 1.0}, "debugger": {"rules": rules}})
    assert [said.startswith("1 of 2 rules fired") for said in (debugged.line(), table[0][2])] == [True, True]


def test_a_run_that_did_little_has_a_short_page(run: Run) -> None:
    page = write_report(run).read_text()
    assert "<section" in page
    assert 'id="night"' not in page
    assert 'id="evaluation"' not in page
