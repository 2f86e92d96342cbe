"""Photos whose entry in the record comes a night later."""

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Count
from tasks.nightly import model as choosing
from tasks.nightly import plan
from tasks.nightly.entry import NO_ENTRY
from tasks.nightly.judge import Policy
from tasks.nightly.late import judge_late
from tasks.nightly.night import Night
from tasks.nightly.parameters import NightParameters
from tasks.nightly.photos import NightPhoto
from tasks.nightly.policy import policy_facts
from tasks.nightly.report import write_page
from tasks.nightly.tasks import collect, rows_of
from tasks.release.registry import RegisteredModel
from tasks.settings import Settings
from tests.ledgers import MOMENT, count_row

TONIGHT = MOMENT.date() + dt.timedelta(days=1)
WAITING: dict[str, Any] = {
    "expected": None, "record_problem": NO_ENTRY, "verdict": "uncertain", "mismatch": None, "size": None,
    "score": None, "products": None, "run": "261124-030000",
    "probabilities": {"1": 0.005, "2": 0.005, "3": 0.98, "4": 0.005, "5": 0.005},
}  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The run 261124-030000 counted with a model that is registered, 261124-040000 with one that is not any more."""

    def named(name: str, settings: Settings) -> RegisteredModel | None:
        about = {"arn": "arn", "version": 1, "status": "Approved", "name": name, "uri": "s3://m/1", "reason": ""}
        return RegisteredModel.model_validate(about | {"facts": policy_facts(Policy())}) if name == "m1" else None

    monkeypatch.setattr(choosing, "named_model", named)
    monkeypatch.setattr(plan, "list_objects", lambda prefix: [])
    found = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{tmp_path}/ledger.db")))
    numbers = {"prefix": "s3://bucket/bins/", "finished_at": MOMENT, "totals": {}, "mix": {}, "confidence": None}
    for run, model in (("261124-030000", "m1"), ("261124-040000", "gone"), ("261123-030000", "m1")):
        found.record_night(numbers | {"run": run, "model": model, "night": MOMENT.date()})
    yield found
    found.engine.dispose()


Begin = Callable[..., Night]


@pytest.fixture
def begin(ledger: Ledger, tmp_path: Path) -> Begin:
    """Find what a run of tonight has to do, with a record of these rows."""

    def one(*rows: str, run: str = "261125-030000", **more: Any) -> Night:
        record, folder = tmp_path / "record.csv", tmp_path / run
        record.write_text("\n".join(("key,expected,bin", *rows)) + "\n")
        folder.mkdir(exist_ok=True)
        parameters = NightParameters(prefix="s3://bucket/bins/", record=str(record), **more)
        night = Night(parameters, ledger, Settings(), run, folder, TONIGHT)
        night.take_plan(plan.find(parameters, ledger, folder, run, TONIGHT))
        return night

    return one


def test_a_late_entry_judges_what_was_counted_and_is_in_tonight_s_report(
    ledger: Ledger, begin: Begin, tmp_path: Path
) -> None:
    ledger.upsert_counts([count_row("bins/1.jpg", **WAITING), count_row("bins/2.jpg", **WAITING)])
    night = begin("bins/1.jpg,5,A1")
    assert night.plan.photos == []  # nothing to count
    night.late = judge_late(night)
    one, two = ledger.rows(Count, Count.key == "bins/1.jpg"), ledger.rows(Count, Count.key == "bins/2.jpg")
    [judged] = one
    assert (judged.expected, judged.record_problem, judged.bin, judged.verdict) == (5, None, "A1", "mismatch")
    assert (judged.night, judged.run, judged.counted_at) == (TONIGHT, "261124-030000", MOMENT)
    assert judged.probabilities == WAITING["probabilities"]
    assert next(two).record_problem == NO_ENTRY

    report = collect(night, rows_of(night))
    totals = report.totals
    assert (totals.counted, totals.judged_late, totals.mismatch, totals.without_record) == (0, 1, 1, 0)
    assert [row.key for row in report.exceptions] == ["bins/1.jpg"]
    assert report.model == "m1"
    assert report.mix == {}  # tonight's counts are none
    write_page(report.model_copy(update={"exceptions": []}), tmp_path / "report.html")
    assert "Of earlier nights, judged now" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("run", ["261125-030000", "261125-120000"], ids=["picked up", "repeated"])
def test_a_second_time_changes_nothing_and_reports_the_same(ledger: Ledger, begin: Begin, run: str) -> None:
    ledger.upsert_counts([count_row("bins/1.jpg", **WAITING)])
    judge_late(begin("bins/1.jpg,5,A1"))
    before = list(ledger.rows(Count))
    again = begin("bins/1.jpg,5,A1", run=run)
    again.late = judge_late(again)
    assert list(ledger.rows(Count)) == before
    assert collect(again, rows_of(again)).totals.judged_late == 1


def test_without_the_model_s_thresholds_a_photo_goes_on_waiting(ledger: Ledger, begin: Begin) -> None:
    ledger.upsert_counts([count_row("bins/1.jpg", **WAITING | {"run": "261124-040000"})])
    before = list(ledger.rows(Count))
    night = begin("bins/1.jpg,5,A1")
    assert (len(night.plan.late), judge_late(night)) == (1, set())
    assert list(ledger.rows(Count)) == before


def test_a_late_photo_is_the_photo_before_another(ledger: Ledger, begin: Begin) -> None:
    later = MOMENT + dt.timedelta(hours=1)
    first = count_row("bins/1.jpg", **WAITING | {"run": "261123-030000"})
    ledger.upsert_counts([count_row("bins/2.jpg", **WAITING, taken_at=later), first])
    judge_late(begin("bins/2.jpg,5,A1", "bins/1.jpg,5,A1"))
    rows = {row.key: row for row in ledger.rows(Count)}
    assert rows["bins/2.jpg"].before == first["photo"]
    assert rows["bins/2.jpg"].mismatch > rows["bins/1.jpg"].mismatch  # by its evidence


@pytest.mark.parametrize(
    ("row", "more"),
    [
        ({"night": TONIGHT - dt.timedelta(days=15)}, {}),
        ({"expected": 4}, {}),
        ({}, {"since": dt.date(2026, 11, 25)}),
        ({}, {"until": dt.date(2026, 11, 23)}),
        ({}, {"recount": True}),
    ],
    ids=["too long ago", "has one", "before the dates", "after the dates", "is counted again"],
)
def test_a_photo_does_not_wait(ledger: Ledger, begin: Begin, row: dict[str, Any], more: dict[str, Any]) -> None:
    ledger.upsert_counts([count_row("bins/1.jpg", **WAITING | row)])
    assert begin("bins/1.jpg,5,A1", **more).plan.late == []


def test_a_photo_that_was_replaced_is_counted_and_not_judged_late(
    ledger: Ledger, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.upsert_counts([count_row("bins/1.jpg", **WAITING)])
    new = NightPhoto(photo="new", bucket="bucket", key="bins/1.jpg", etag="e2", bytes=9, taken_at=MOMENT)
    monkeypatch.setattr(plan, "list_objects", lambda prefix: [new])
    night = begin("bins/1.jpg,5,A1")
    assert ([photo.expected for photo in night.plan.photos], night.plan.late) == ([5], [])
