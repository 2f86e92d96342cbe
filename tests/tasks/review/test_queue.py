"""Who is asked about which photo, when it is settled, and what becomes of answers."""

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete, insert

from tasks.ledger.database import writing
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Answer, Count, now
from tasks.review.labels import Exported, export_labels
from tasks.review.queue import (
    Flagged,
    Progress,
    Scope,
    answer,
    claim,
    claim_next,
    flagged,
    leave_out,
    progress,
    undo,
    waiting,
    with_answers,
)
from tests.ledgers import MOMENT, count_row
from tests.tasks.review.conftest import flagged_photos
from training.errors import ReviewError

RECORD, MODEL = "5", "3"  # of `count_row`


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Flagged photos, in SQLite and in PostgreSQL."""
    with flagged_photos(url) as found:
        yield found


def names(items: Iterable[Flagged]) -> list[str]:
    return [item.row.photo_id for item in items]


def test_the_best_bet_comes_first_and_nobody_gets_what_another_has(ledger: Ledger) -> None:
    first, second = claim_next(ledger, "ann"), claim_next(ledger, "bob")
    assert first
    assert second
    assert names([first, second]) == ["0", "1"]
    assert names([claim_next(ledger, "ann") or first]) == ["0"]  # a reload shows the same
    answer(ledger, first.row.photo, "ann", RECORD)
    following = claim_next(ledger, "ann")
    assert following
    assert names([following]) == ["2"]


@pytest.mark.parametrize(
    ("given", "settled", "is_open"),
    [
        ([], None, True),
        ([RECORD], RECORD, False),  # the record was right after all
        ([MODEL], MODEL, False),  # the model was right
        (["4"], None, True),  # neither: a second person
        (["4", "4"], "4", False),
        (["4", "2"], None, True),
        (["4", "2", "2"], "2", False),
        (["4", "2", "1"], None, False),  # nobody is asked a fourth time
        (["unclear"], None, True),
        (["unclear", "unclear"], "unclear", False),
        (["more", "more"], "more", False),
    ],
)
def test_two_witnesses_settle_a_photo(ledger: Ledger, given: list[str], settled: str | None, is_open: bool) -> None:
    photo = flagged(ledger)[0].row.photo
    for number, said in enumerate(given):
        answer(ledger, photo, f"reviewer {number}", said)
    item = flagged(ledger)[0]
    assert item.settled == settled
    # The database finds the same, without reading every photo.
    assert progress(ledger, "somebody else").done == int(not is_open)
    following = claim_next(ledger, "somebody else")
    assert following
    assert (following.row.photo == photo) is is_open


def test_a_disagreement_goes_to_somebody_else(ledger: Ledger) -> None:
    photo = flagged(ledger)[0].row.photo
    answer(ledger, photo, "ann", "4")
    assert names([claim_next(ledger, "ann")]) == ["1"]  # type: ignore[list-item]
    assert names([claim_next(ledger, "bob")]) == ["0"]  # type: ignore[list-item]


def test_an_answer_can_be_undone_and_given_again(ledger: Ledger) -> None:
    photo = flagged(ledger)[0].row.photo
    answer(ledger, photo, "ann", RECORD)
    assert progress(ledger, "ann").done == 1
    assert undo(ledger, photo, "bob") is None  # it is not theirs
    assert undo(ledger, photo, "ann") == photo
    assert progress(ledger, "ann").done == 0
    assert undo(ledger, photo, "ann") is None
    [row] = ledger.rows(Answer)
    assert row.withdrawn_at is not None  # what was undone can still be seen
    answer(ledger, photo, "ann", MODEL)
    [row] = ledger.rows(Answer)
    assert (row.reviewer, row.answer, row.withdrawn_at) == ("ann", MODEL, None)


def test_what_another_is_counting_by_now_is_not_given_back_by_an_undo(ledger: Ledger) -> None:
    photo = flagged(ledger)[0].row.photo
    answer(ledger, photo, "ann", "4")
    assert names([claim_next(ledger, "bob")]) == ["0"]  # type: ignore[list-item]
    assert undo(ledger, photo, "ann") is None
    assert flagged(ledger)[0].answers == ()  # it is withdrawn all the same
    assert claim(ledger, photo, "ann") is None
    assert names([claim_next(ledger, "ann")]) == ["1"]  # type: ignore[list-item]
    assert names([claim(ledger, photo, "bob")]) == ["0"]  # type: ignore[list-item]


def test_two_people_of_one_name_are_not_asked_about_one_photo(ledger: Ledger) -> None:
    first, second = (claim_next(ledger, "ann", browser=browser) for browser in ("1", "2"))
    assert names([first, second]) == ["0", "1"]  # type: ignore[list-item]
    assert names([claim_next(ledger, "ann", browser="1")]) == ["0"]  # type: ignore[list-item]
    photo = flagged(ledger)[0].row.photo
    answer(ledger, photo, "ann", "4", browser="1")
    assert names([claim_next(ledger, "bob")]) == ["0"]  # type: ignore[list-item]  # it was given back
    assert claim(ledger, photo, "ann", browser="1") is None


@pytest.mark.parametrize("spelling", ["Anna Ößler", "ANNA ÖSSLER", "\uff41nna o\u0308ßler"])
def test_one_person_in_two_spellings_is_one_witness(ledger: Ledger, spelling: str) -> None:
    photo = flagged(ledger)[0].row.photo
    answer(ledger, photo, "anna ößler", "4")
    assert names([claim_next(ledger, spelling)]) == ["1"]  # type: ignore[list-item]
    assert progress(ledger, spelling).mine == 1
    answer(ledger, photo, spelling, "4")
    assert flagged(ledger)[0].settled is None
    assert progress(ledger, spelling).done == 0
    assert undo(ledger, photo, spelling) == photo


def test_names_that_an_earlier_version_wrote_with_their_capitals_are_the_same_people(ledger: Ledger) -> None:
    photo = flagged(ledger)[0].row.photo
    old = {"photo": photo, "answer": "4", "answered_at": now()}
    with writing(ledger.engine) as connection:
        connection.execute(insert(Answer), [old | {"reviewer": name} for name in ("Anna", "anna")])
    assert flagged(ledger)[0].settled is None
    assert (progress(ledger, "anna").done, progress(ledger, "anna").mine) == (0, 1)
    answer(ledger, photo, "bob", "4")
    assert flagged(ledger)[0].settled == "4"
    assert progress(ledger, "ann").done == 1


def test_progress_counts_what_is_left_for_each(ledger: Ledger) -> None:
    photo = flagged(ledger)[0].row.photo
    answer(ledger, photo, "ann", "4")
    ann, bob = (progress(ledger, who) for who in ("ann", "bob"))
    assert (ann.flagged, ann.done, ann.mine, ann.left) == (4, 0, 1, 3)
    assert (bob.flagged, bob.done, bob.mine, bob.left) == (4, 0, 0, 4)


@pytest.mark.parametrize("said", ["", "10", "-1", "three", "3; drop table answers"])
def test_what_is_no_answer_is_refused(ledger: Ledger, said: str) -> None:
    with pytest.raises(ReviewError, match="is no answer"):
        answer(ledger, flagged(ledger)[0].row.photo, "ann", said)
    with pytest.raises(ReviewError, match="no photo"):
        answer(ledger, "f" * 32, "ann", "3")
    assert list(ledger.rows(Answer)) == []


HELD_BACK = "nightly/261125-162900/held-back/bin-images"


def test_photos_that_a_pipeline_held_back_are_asked_about_where_there_are_no_others_or_by_their_prefix(
    ledger: Ledger,
) -> None:
    with writing(ledger.engine) as connection:
        connection.execute(delete(Count))
    ledger.upsert_counts([count_row(f"{HELD_BACK}/{name}.jpg", score=9.0) for name in ("8", "9")])
    assert names([claim_next(ledger, "ann")]) in (["8"], ["9"])  # type: ignore[list-item]
    assert progress(ledger, "ann").flagged == 2
    tonight = count_row("bins/1.jpg", score=0.1)
    ledger.upsert_counts([tonight])
    assert names([claim_next(ledger, "bob")]) == ["1"]  # type: ignore[list-item]
    answer(ledger, tonight["photo"], "bob", RECORD)
    assert claim_next(ledger, "bob") is None  # what tests a model is no warehouse's work
    assert progress(ledger, "bob").flagged == 1
    for prefix, found in ((f"s3://bucket/{HELD_BACK}/", 2), ("s3://bucket/bins/", 1), ("s3://bucket", 3)):
        assert progress(ledger, "bob", Scope(prefix)).flagged == found
    for prefix in ("s3://bucket/BINS/", "s3://elsewhere/bins/"):
        assert progress(ledger, "bob", Scope(prefix)).flagged == 0
    assert names([claim_next(ledger, "bob", Scope(f"s3://bucket/{HELD_BACK}/"))]) in (["8"], ["9"])  # type: ignore[list-item]


def test_the_queue_is_of_the_last_fourteen_nights_unless_asked_for_more(ledger: Ledger, tmp_path: Path) -> None:
    first = flagged(ledger)[0].row.photo
    answer(ledger, first, "ann", MODEL)
    for days in (1, 14):
        night = MOMENT.date() + dt.timedelta(days=days)
        ledger.upsert_counts([count_row(f"bins/after {days}.jpg", night=night, score=0.1, verdict="uncertain")])
    assert progress(ledger, "ann") == Progress(flagged=2, done=0, mine=0, left=2, gone=0)
    assert set(names(waiting(ledger, "bob", Scope(), 9))) == {"after 1", "after 14"}
    assert progress(ledger, "ann", Scope(since=MOMENT.date())).flagged == 6
    # What was settled before is a label still.
    assert export_labels(ledger, tmp_path / "labels.parquet") == Exported(1, ())
    # Where they are counted from is the newest night under a prefix, however long ago that was.
    assert progress(ledger, "ann", Scope("s3://bucket/bins/1")).flagged == 1


def test_what_is_gone_is_done_with_and_no_label(ledger: Ledger, tmp_path: Path) -> None:
    photos = [item.row.photo for item in flagged(ledger)]
    answer(ledger, photos[0], "ann", "4")  # contradicts both, so that a second person would be asked
    leave_out(ledger, photos[:2])
    assert names([claim_next(ledger, "bob")]) == ["2"]  # type: ignore[list-item]
    bob = progress(ledger, "bob")
    assert (bob.flagged, bob.done, bob.gone, bob.mine, bob.left) == (4, 2, 2, 0, 2)
    assert [item.settled for item in flagged(ledger)] == ["gone", "gone", None, None]
    assert export_labels(ledger, tmp_path / "labels.parquet") == Exported(0, ())


def test_settled_counts_become_labels(ledger: Ledger, tmp_path: Path) -> None:
    photos = [item.row.photo for item in flagged(ledger)]
    answer(ledger, photos[0], "ann", MODEL)
    answer(ledger, photos[1], "ann", "4")
    answer(ledger, photos[1], "bob", "4")
    answer(ledger, photos[2], "ann", "more")
    answer(ledger, photos[2], "bob", "more")
    answer(ledger, photos[3], "ann", "1")  # not settled
    assert export_labels(ledger, tmp_path / "labels.parquet") == Exported(2, ())
    labels = {row["id"]: row for row in pq.read_table(tmp_path / "labels.parquet").to_pylist()}
    assert {photo: row["count"] for photo, row in labels.items()} == {"0": 3, "1": 4}
    assert labels["1"]["reviewers"] == ["ann", "bob"]
    assert labels["0"]["expected"] == 5


def test_a_photo_that_another_model_counted_since_is_judged_by_its_newest_row(ledger: Ledger) -> None:
    later = MOMENT + dt.timedelta(days=1)
    ledger.upsert_counts([count_row("bins/0.jpg", model="m2", count=5, verdict="match", counted_at=later)])
    ledger.upsert_counts([count_row("bins/1.jpg", model="m2", count=2, score=9.0, counted_at=later)])
    assert names(flagged(ledger)) == ["1", "2", "3"]
    answer(ledger, flagged(ledger)[0].row.photo, "ann", MODEL)  # what the first model said: no witness any more
    assert flagged(ledger)[0].settled is None
    answer(ledger, flagged(ledger)[0].row.photo, "ann", "2")
    assert flagged(ledger)[0].settled == "2"


def test_what_was_settled_stays_a_label_when_the_newest_model_agrees_with_the_record(
    ledger: Ledger, tmp_path: Path
) -> None:
    answer(ledger, flagged(ledger)[0].row.photo, "ann", RECORD)
    later = MOMENT + dt.timedelta(days=1)
    ledger.upsert_counts([count_row("bins/0.jpg", model="m2", count=5, verdict="match", counted_at=later)])
    assert export_labels(ledger, tmp_path / "labels.parquet") == Exported(1, ())


def test_what_people_settled_stays_settled_when_another_model_counts_again(ledger: Ledger, tmp_path: Path) -> None:
    photos = [item.row.photo for item in flagged(ledger)]
    for photo in photos[:3]:
        answer(ledger, photo, "ann", MODEL)
    answer(ledger, photos[3], "ann", "4")  # against both
    tomorrow = now() + dt.timedelta(days=1)
    again = {"model": "m2", "counted_at": tomorrow}
    ledger.upsert_counts([count_row("bins/0.jpg", count=4, score=9.0, **again)])
    ledger.upsert_counts([count_row("bins/1.jpg", count=5, verdict="match", **again)])
    ledger.upsert_counts([count_row("bins/3.jpg", count=4, **again)])
    assert export_labels(ledger, tmp_path / "labels.parquet") == Exported(4, ())
    assert [item.settled for item in flagged(ledger)] == [MODEL, MODEL, "4"]
    assert (progress(ledger, "bob").done, claim_next(ledger, "bob")) == (3, None)
    [first, corrected] = with_answers(ledger, list(ledger.latest(photos[:2]).values()))
    assert (first.contradicts_the_record, corrected.contradicts_the_record) == (True, True)
    # A third model takes back nothing either.
    third = {"model": "m3", "count": 2, "counted_at": tomorrow + dt.timedelta(days=1)}
    ledger.upsert_counts([count_row(f"bins/{name}.jpg", **third) for name in "0123"])
    assert export_labels(ledger, tmp_path / "labels.parquet") == Exported(4, ())
    assert claim_next(ledger, "bob") is None


def test_a_photo_that_was_replaced_is_asked_about_by_its_newest_bytes_only(ledger: Ledger, tmp_path: Path) -> None:
    old = flagged(ledger)[0].row.photo
    answer(ledger, old, "ann", RECORD)
    later = MOMENT + dt.timedelta(days=1)
    new = count_row("bins/0.jpg", etag="e2", counted_at=later)
    ledger.upsert_counts([new])
    [item] = [item for item in flagged(ledger) if item.row.photo_id == "0"]
    assert (item.row.photo, item.answers) == (new["photo"], ())
    assert claim(ledger, old, "ann") is None
    assert export_labels(ledger, tmp_path / "labels.parquet") == Exported(0, ())  # the bytes that ann saw are gone
    # Another folder's photo of the same name is another photo, and stays.
    ledger.upsert_counts([count_row("other/0.jpg", counted_at=later)])
    assert names(flagged(ledger)).count("0") == 2


@pytest.mark.parametrize(("second", "found"), [(MODEL, Exported(1, ())), (RECORD, Exported(0, ("0",)))])
def test_two_photos_of_one_name_are_one_label_or_none(
    ledger: Ledger, tmp_path: Path, second: str, found: Exported
) -> None:
    other = count_row("other/0.jpg", score=9.0)
    ledger.upsert_counts([other])
    answer(ledger, other["photo"], "ann", MODEL)
    answer(ledger, flagged(ledger)[1].row.photo, "bob", second)
    assert export_labels(ledger, tmp_path / "labels.parquet") == found
    labels = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert [(row["id"], row["count"], row["reviewers"]) for row in labels] == [("0", 3, ["bob", "ann"])] * found.labels
