"""A job's records on S3: found, read in place as from a folder, and read when they are damaged or absent."""

import dataclasses
import gzip
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import obstore
import pytest
from smdebug import modes
from smdebug.core.access_layer.s3handler import S3Handler
from smdebug.trials import create_trial

from tasks.debugger.evaluate import ERROR, NO_DATA, RULES, TENSOR_RULES, judge
from tasks.debugger.records import Records, Sources, fetch_records
from tasks.debugger.report import JobFacts, make_report
from tasks.debugger.stage import DebuggedJob, facts_of
from tasks.object_store import ensure_bucket, open_store
from tests.browser import chromium
from tests.tasks.conftest import s3, s3_folder, s3_variables
from tests.tasks.debugger.planted import record
from tests.tasks.debugger.test_profile_rules import PLANTED, write
from tests.tasks.debugger.test_profile_rules import RULES as PROFILE

__all__ = ["s3", "s3_folder", "s3_variables"]
LOSS = "CrossEntropyLoss_output_0"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "debug-output"
    record(folder, passes=2, steps=6)
    return folder


def test_tensors_are_read_from_s3_as_from_a_folder(recorded: Path, s3: Path) -> None:
    upload(recorded, "s3://read-in-place/job/debug-output")
    S3Handler.client.cache_clear()  # it remembers the address that it saw first
    away, here = create_trial("s3://read-in-place/job/debug-output"), create_trial(str(recorded))
    for mode in (modes.TRAIN, modes.EVAL):
        assert away.steps(mode=mode) == here.steps(mode=mode)
    assert away.tensor_names() == here.tensor_names()
    assert away.tensor(LOSS).value(2, mode=modes.TRAIN) == here.tensor(LOSS).value(2, mode=modes.TRAIN)
    S3Handler.client.cache_clear()


def upload(folder: Path, uri: str) -> None:
    """Through S3, not behind its back: the server remembers what there is."""
    ensure_bucket(uri)
    store = open_store(uri)
    for file in folder.rglob("*"):
        if file.is_file():
            obstore.put(store, file.relative_to(folder).as_posix(), file.read_bytes())


def sources(prefix: str) -> Sources:
    return Sources(f"{prefix}/debug-output", f"{prefix}/profiler-output", f"{prefix}/output.tar.gz")


def test_records_are_fetched_without_what_was_never_finished(recorded: Path, s3: Path, tmp_path: Path) -> None:
    upload(recorded, "s3://fetched/job/debug-output")
    obstore.put(open_store("s3://fetched/job/debug-output"), "index/000000000/9.json.tmp", b"{")
    records = fetch_records(sources("s3://fetched/job"), tmp_path)
    trial = records.trial()
    assert trial is not None
    assert trial.steps(mode=modes.TRAIN) == [0, 2, 4, 6, 8, 10]
    assert records.problems == []


def test_a_job_without_tensors_has_a_report_that_says_so(s3: Path, tmp_path: Path) -> None:
    ensure_bucket("s3://no-records")
    records = fetch_records(sources("s3://no-records/job"), tmp_path)
    trial, profile = records.trial(), records.profile()
    verdicts = judge(trial, profile)
    assert {verdict.status for verdict in verdicts} == {NO_DATA}
    facts = JobFacts("a-job", "Failed", failure="AlgorithmError: there is no channel folder")
    page = make_report(facts, verdicts, trial, profile, records.problems).page
    assert "The job left no tensors" in page
    assert "there is no channel folder" in page


def test_tensors_cut_short_are_left_out_and_counted(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "debug-output"
    shutil.copytree(recorded, folder)
    indexes, events = sorted(folder.glob("index/*/*.json")), sorted(folder.glob("events/*/*.tfevents"))
    indexes[1].write_text(indexes[1].read_text()[:40])
    events[2].write_bytes(events[2].read_bytes()[:100])
    events[3].unlink()
    records = Records(tmp_path)
    trial = records.trial()
    assert trial is not None
    assert len(trial.steps()) == 8 - 3
    assert "3 steps are cut short" in records.problems[0]
    assert ERROR not in {v.status for v in judge(trial, None, {name: {} for name in TENSOR_RULES})}


@pytest.mark.parametrize(
    "content",
    [b"no archive", gzip.compress(b"no tar"), gzip.compress(bytes(range(256)) * 90)[:200], None],
    ids=["no archive", "no tar", "cut short", "absent"],
)
def test_a_damaged_model_leaves_the_phases_unknown(content: bytes | None, s3: Path) -> None:
    ensure_bucket("s3://damaged")
    if content is not None:
        obstore.put(open_store("s3://damaged"), "model.tar.gz", content)
    job = SimpleNamespace(
        training_job_name="j",
        training_job_status="Completed",
        training_time_in_seconds=60,
        failure_reason=None,
        hyper_parameters={},
        resource_config=SimpleNamespace(instance_type="ml.m5.large"),
        model_artifacts=SimpleNamespace(s3_model_artifacts=f"s3://damaged/{'model' if content else 'absent'}.tar.gz"),
    )
    problems: list[str] = []
    assert facts_of(job, problems).phases == {}
    assert "its phases are unknown" in problems[0]


def test_rules_that_had_nothing_to_judge_are_not_counted() -> None:
    rules = {"Overfit": "IssuesFound", "DeadRelu": "NoIssuesFound", "BatchSize": NO_DATA}
    debugged = DebuggedJob(job_name="j", report=Path("debugger.html"), rules=rules, advice={}, idle=None)
    assert debugged.line() == "1 of 2 rules fired (Overfit)"


def test_where_a_jobs_records_are() -> None:
    job: Any = SimpleNamespace(
        training_job_name="j",
        output_data_config=SimpleNamespace(s3_output_path="s3://b/jobs"),
        checkpoint_config=SimpleNamespace(s3_uri="s3://b/checkpoints/base/"),
    )
    found = Sources.of(job)
    assert found.tensors == "s3://b/checkpoints/base/debug-output"
    assert found.archive == "s3://b/jobs/j/output/output.tar.gz"
    job.debug_hook_config = SimpleNamespace(s3_output_path="s3://b/debugger")
    assert Sources.of(job).tensors == "s3://b/debugger/j/debug-output"
    assert Sources.of(job).profile == "s3://b/checkpoints/base/profiler-output"


def test_the_report_is_one_page_that_a_browser_shows(recorded: Path, tmp_path: Path) -> None:
    trial = create_trial(str(recorded))
    facts = JobFacts("a-job", "Completed", 100, "ml.g5.xlarge", "", {"train": 60, "eval": 10, "data": 5, "other": 25})
    page_file = tmp_path / "debugger.html"
    page_file.write_text(make_report(facts, judge(trial, None), trial, None, []).page)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        assert asked == [page_file.as_uri()]  # self-contained
        assert page.locator("#rules tbody tr").count() == len(RULES)
        assert page.locator("svg").count() >= 4
        assert "30.0%" in page.inner_text(".tiles")
        assert "67.6%" in page.inner_text(".tiles")
        assert "<code>" not in page.inner_text("main")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size({"width": 420, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_page_of_a_failed_job_with_everything_in_it(recorded: Path, tmp_path: Path) -> None:
    levels: dict[str, Any] = {
        "memory/MemoryUsedPercent/MemoryUsedPercent": lambda n: 30 + n / 10,
        "disk/disk/ReadBytesPerSecond": lambda n: 4e6 * (n % 9),
        "network/network/ReceiveBytesPerSecond": lambda n: 1e6 * (n % 4),
    }
    profile = write(tmp_path, PLANTED["CPUBottleneck"] | levels, slow_steps=3)
    trial = create_trial(str(recorded))
    rules: dict[str, Any] = (
        {name: {} for name in TENSOR_RULES} | PROFILE | {"WeightUpdateRatio": {"large_threshold": "1e-9"}}
    )
    verdicts = judge(trial, profile, rules)
    verdicts.append(
        dataclasses.replace(verdicts[-1], rule="OfMyOwn", status=ERROR, reason="KeyError: <'no such tensor'>")
    )
    failure = "AlgorithmError: TrainingError: the loss became nan at step 41: the learning rate 0.09 is too high"
    told = {"lr": "0.09", "batch_size": "32", "backbone": "efficientnet_lite0"}
    facts = JobFacts("b261126-070229-train-0123abcd-2", "Failed", 1234, "ml.g5.xlarge", failure, {}, told)
    problems = ["The tensors of 3 steps are cut short and left out (global steps 12, 13, 14)."]
    page_file = tmp_path / "debugger.html"
    page_file.write_text(make_report(facts, verdicts, trial, profile, problems).page)
    errors: list[str] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        shots = os.environ.get("BINVENTORY_SCREENSHOTS")
        for width, name in ((1100, "debugger"), (390, "debugger-phone")):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            advice = page.locator("#rules td:last-child").first.bounding_box()
            assert advice
            assert advice["x"] + advice["width"] <= width, "what to do is out of sight"
            if shots:
                page.screenshot(path=f"{shots}/{name}.png", full_page=True)
        text, tiles = page.inner_text("main"), page.inner_text(".tiles")
        sections = page.eval_on_selector_all("section[id]", "all => all.map(each => each.id)")
        page.locator("#rules summary").first.click()
        assert page.locator("#rules details[open] li").first.is_visible()
    assert errors == []
    assert sections == ["rules", "losses", "parts", "steps", "machine", "gradients", "updates"]
    fired = [verdict for verdict in verdicts if verdict.fired]
    assert {verdict.rule for verdict in fired} >= {"CPUBottleneck", "StepOutlier", "WeightUpdateRatio"}
    assert f"{len(fired)}\nrules fired" in tiles
    assert "1\nrules could not be run" in tiles
    for said in (
        failure,
        problems[0],
        "KeyError: <'no such tensor'>",
        "large_threshold = 1e-09",
        "less than two windows",
    ):
        assert said in text, said
    for verdict in fired:
        assert verdict.advice.replace("`", "") in text
