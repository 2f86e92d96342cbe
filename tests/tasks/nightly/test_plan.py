"""What a night sets out to count, beside a ledger that has other things to say of the same photos."""

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from serving.prediction import Prediction
from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.nightly import plan
from tasks.nightly.entry import NO_ENTRY
from tasks.nightly.judge import Policy
from tasks.nightly.night import Night
from tasks.nightly.outcomes import Outcome
from tasks.nightly.parameters import NightParameters
from tasks.nightly.photos import NightPhoto
from tasks.nightly.remember import remember
from tasks.nightly.report import exceptions
from tasks.nightly.tasks import collect, rows_of
from tasks.nightly.tell import why_a_person_is_needed
from tasks.review.queue import answer
from tasks.settings import Settings
from tests.ledgers import MOMENT, count_row

FIRST, OTHER = "261125-030000", "261125-080000"
TONIGHT = MOMENT.date() + dt.timedelta(days=1)
SHARES = {1: 0.1, 2: 0.1, 3: 0.6, 4: 0.1, 5: 0.1}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{tmp_path}/ledger.db")))
    yield found
    found.engine.dispose()


Put = Callable[..., None]
Begin = Callable[..., Night]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """Make these the objects under the prefix: rows of the ledger say which."""

    def all_of(*rows: dict[str, Any]) -> None:
        names = ("photo", "bucket", "key", "etag", "bytes", "taken_at")
        listed = [NightPhoto.model_validate({name: row[name] for name in names}) for row in rows]
        monkeypatch.setattr(plan, "list_objects", lambda prefix: listed)

    return all_of


@pytest.fixture
def begin(ledger: Ledger, tmp_path: Path) -> Begin:
    """Find what a run of tonight has to do; ``record`` are the rows of its record, if it has one."""

    def one(*record: str, run: str = FIRST, **more: Any) -> Night:
        folder = tmp_path / run
        folder.mkdir(exist_ok=True)
        if record:
            (tmp_path / "record.csv").write_text("\n".join(("key,expected,bin", *record)) + "\n")
            more["record"] = str(tmp_path / "record.csv")
        parameters = NightParameters(prefix="s3://bucket/bins/", **more)
        night = Night(parameters, ledger, Settings(), run, folder, TONIGHT)
        night.take_plan(plan.find(parameters, ledger, folder, run, TONIGHT))
        return night

    return one


def end(night: Night, model: str = "m1") -> None:
    """Count what a night planned, three objects in each photo, and remember it."""
    night.model = model
    outcome = Outcome(status="counted", prediction=Prediction(3, 0.6, 3.0, SHARES, model, 0.1))
    night.outcomes |= {photo.photo: outcome for chunk in night.plan.chunks for photo in chunk.photos}
    remember(night.plan.photos, night.outcomes, Policy(), night.ledger, night.run_id, night.date)


def newest_of(ledger: Ledger, row: dict[str, Any]) -> Any:
    return ledger.latest([row["photo"]])[row["photo"]]


@pytest.mark.parametrize("model", ["m1", "m2"], ids=["the same model", "another model"])
@pytest.mark.parametrize("record", [(), ("bins/other.jpg,2,A-9",)], ids=["no record", "a record of others"])
def test_counting_again_without_the_right_record_keeps_what_the_record_said(
    ledger: Ledger, put: Put, begin: Begin, record: tuple[str, ...], model: str
) -> None:
    row = count_row("bins/1.jpg", bin="A-1", products=None)
    ledger.upsert_counts([row])
    answer(ledger, row["photo"], "ann", "3")
    put(row)
    night = begin(*record, recount=True)
    end(night, model)
    found = newest_of(ledger, row)
    assert (found.model, found.expected, found.record_problem, found.bin) == (model, 5, None, "A-1")
    assert found.mismatch is not None

    report = collect(night, rows_of(night))
    assert report.totals.recount
    assert "1 photos have no entry in a record of tonight" in report.remarks[0]
    why = why_a_person_is_needed(report)
    assert ("none of 1 counted photos has an entry" in str(why)) if record else why is None


def test_counting_again_with_a_record_takes_what_that_says(ledger: Ledger, put: Put, begin: Begin) -> None:
    row = count_row("bins/1.jpg", bin="A-1", products=None)
    ledger.upsert_counts([row])
    put(row)
    night = begin("bins/1.jpg,2,B-2", recount=True)
    end(night)
    found = newest_of(ledger, row)
    assert (found.expected, found.bin) == (2, "B-2")
    assert collect(night, rows_of(night)).remarks == []
    end(begin("bins/1.jpg,two,B-2", recount=True, run=OTHER))  # an entry that cannot be used is one, too
    assert "row 1 expects 'two'" in newest_of(ledger, row).record_problem


def test_a_run_that_is_picked_up_leaves_to_another_what_that_has_counted_meanwhile(
    ledger: Ledger, put: Put, begin: Begin
) -> None:
    first, second = count_row("bins/1.jpg"), count_row("bins/2.jpg", bytes=0)
    put(first, second)
    assert len(begin("bins/1.jpg,5,A1", "bins/2.jpg,5,A2").plan.photos) == 2  # and dies
    end(begin("bins/1.jpg,3,A1", "bins/2.jpg,3,A2", run=OTHER))
    counted = newest_of(ledger, first)
    picked_up = begin("bins/1.jpg,5,A1", "bins/2.jpg,5,A2")
    assert (picked_up.plan.photos, picked_up.plan.unreadable) == ([], {})
    assert picked_up.plan.skipped == {"counted before": 2}
    end(picked_up)
    assert newest_of(ledger, first) == counted
    assert (counted.run, counted.expected) == (OTHER, 3)
    put(first, second, third := count_row("bins/3.jpg"))
    [more] = [chunk for chunk in begin().plan.chunks if chunk.photos]
    assert (more.number, more.photos[0].key) == (2, third["key"])  # the other's number is not given twice


def test_a_recount_that_is_picked_up_leaves_to_another_what_that_has_counted_meanwhile(
    ledger: Ledger, put: Put, begin: Begin
) -> None:
    first, second = count_row("bins/1.jpg"), count_row("bins/2.jpg")
    ledger.upsert_counts([first, second])
    put(first, second)
    assert len(begin(recount=True).plan.photos) == 2
    put(first)
    end(begin("bins/1.jpg,3,A1", recount=True, run=OTHER))
    put(first, second)
    for _ in range(2):
        assert [photo.key for photo in begin(recount=True).plan.photos] == ["bins/2.jpg"]


def test_what_a_run_has_written_itself_stays_its_own_with_an_entry_that_came_meanwhile(
    ledger: Ledger, put: Put, begin: Begin
) -> None:
    row = count_row("bins/1.jpg")
    put(row)
    end(begin("bins/other.jpg,5,A1"))  # and dies before its report
    written = newest_of(ledger, row)._asdict()
    ledger.upsert_counts([written | {"expected": 5, "record_problem": None, "bin": "A1", "verdict": "mismatch"}])
    night = begin("bins/other.jpg,5,A1")
    [photo] = night.plan.photos
    assert (photo.expected, photo.record_problem, photo.bin) == (5, None, "A1")
    end(night)
    assert newest_of(ledger, row).expected == 5


@pytest.mark.parametrize(
    ("entry", "left"),
    [({}, 1), ({"expected": 5, "bin": "A1"}, 1), ({"expected": 3, "bin": "A1"}, 0)],
    ids=["not judged", "judged by this run", "judged by another record"],
)
def test_a_late_entry_is_not_put_over_one_that_another_run_has_read_meanwhile(
    ledger: Ledger, put: Put, begin: Begin, entry: dict[str, Any], left: int
) -> None:
    waiting = count_row("bins/1.jpg", expected=None, record_problem=NO_ENTRY, products=None)
    ledger.upsert_counts([waiting])
    put(waiting)
    assert len(begin("bins/1.jpg,5,A1").plan.late) == 1  # and dies
    ledger.upsert_counts([waiting | {"record_problem": None} | entry] if entry else [])
    put()
    assert len(begin("bins/other.jpg,5,A1").plan.late) == left


def test_a_photo_that_was_put_back_is_counted_again_and_what_is_said_of_its_key(
    ledger: Ledger, put: Put, begin: Begin
) -> None:
    later = MOMENT + dt.timedelta(days=1)
    right, wrong = count_row("bins/1.jpg"), count_row("bins/1.jpg", etag="e2", taken_at=later, counted_at=later)
    ledger.upsert_counts([right, count_row("bins/2.jpg")])
    ledger.upsert_counts([wrong])
    put(right | {"taken_at": later + dt.timedelta(hours=1)}, count_row("bins/2.jpg"))
    night = begin("bins/1.jpg,5,A1")
    assert [photo.key for photo in night.plan.photos] == ["bins/1.jpg"]
    end(night)
    assert [row.photo for row in exceptions(rows_of(night))] == [right["photo"]]
    assert begin("bins/1.jpg,5,A1", run=OTHER).plan.photos == []


def test_a_key_that_no_ledger_can_hold_is_skipped_and_said(put: Put, begin: Begin) -> None:
    put(count_row("bins/1\0.jpg"), count_row("bins/2.jpg"))
    found = begin().plan
    assert ([photo.key for photo in found.photos], found.skipped) == (["bins/2.jpg"], {"a NUL in its key": 1})


@pytest.mark.parametrize(("model", "alarmed"), [("m1", True), ("m2", False)], ids=["the same model", "a new model"])
def test_a_model_that_was_changed_on_purpose_is_no_drift(
    ledger: Ledger, put: Put, begin: Begin, model: str, alarmed: bool
) -> None:
    for days in (1, 2, 3):
        day = TONIGHT - dt.timedelta(days=days)
        about = {"prefix": "s3://bucket/bins/", "night": day, "model": "m1", "finished_at": MOMENT}
        numbers = {"totals": {"counted": 200}, "mix": {"1": 1.0}, "confidence": 0.9}
        ledger.record_night(about | numbers | {"run": f"before-{days}"})
    put(*(count_row(f"bins/{number}.jpg") for number in range(120)))
    night = begin()
    end(night, model)
    assert bool(collect(night, rows_of(night)).drift.alarms) == alarmed
