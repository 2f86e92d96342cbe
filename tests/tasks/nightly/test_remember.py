"""What is written of a bin that was photographed before."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from serving.prediction import Prediction
from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.nightly.judge import Policy
from tasks.nightly.outcomes import Outcome
from tasks.nightly.photos import NightPhoto
from tasks.nightly.remember import make_rows, remember
from tasks.review.queue import answer
from tests.ledgers import MOMENT


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{tmp_path}/ledger.db")))
    yield found
    found.engine.dispose()


def photo(name: str, expected: int | None = 3) -> NightPhoto:
    """A photo of a bin that ABID's numbers and products tell."""
    return NightPhoto(
        photo=name, bucket="bins", key=f"{name}.jpg", etag="e", bytes=9, taken_at=MOMENT, expected=expected,
        bin="00060", products=["P1"],
    )  # fmt: skip


def seen(count: int, share: float = 0.8) -> Outcome:
    """What a model of 1 to 5 answers that gives the rest to all other counts alike."""
    shares = {each: share if each == count else (1 - share) / 4 for each in range(1, 6)}
    return Outcome(status="counted", prediction=Prediction(count, share, float(count), shares, "m1"))


FIRST, SECOND = photo("00060"), photo("00061")
UNDECIDED = seen(4, 0.4)


def mismatch_of_second(photos: list[NightPhoto], outcomes: dict[str, Outcome], ledger: Ledger) -> float:
    [row] = [row for row in make_rows(photos, outcomes, Policy(), ledger) if row["photo"] == SECOND.photo]
    assert row["before"] == (FIRST.photo if len(photos) > 1 or ledger.size() else None)
    return float(row["mismatch"])


@pytest.mark.parametrize("night", ["the same", "an earlier"])
def test_the_photo_before_of_the_bin_bears_witness(ledger: Ledger, night: str) -> None:
    alone = mismatch_of_second([SECOND], {SECOND.photo: UNDECIDED}, ledger)
    found = []
    for count in (3, 4):  # as the record says, and one more
        outcomes = {FIRST.photo: seen(count), SECOND.photo: UNDECIDED}
        if night == "an earlier":
            remember([FIRST], outcomes, Policy(), ledger, f"run {count}", MOMENT.date())
            found.append(mismatch_of_second([SECOND], {SECOND.photo: UNDECIDED}, ledger))
        else:
            found.append(mismatch_of_second([FIRST, SECOND], outcomes, ledger))
    agreeing, contradicting = found
    assert agreeing < 0.7 * alone
    assert contradicting > 1.5 * alone


@pytest.mark.parametrize(("said", "still_a_witness"), [("3", False), ("4", True), ("unclear", True)])
def test_an_error_that_people_found_in_the_record_is_not_held_against_it_again(
    ledger: Ledger, said: str, still_a_witness: bool
) -> None:
    outcomes = {FIRST.photo: seen(3), SECOND.photo: seen(3)}
    alone = mismatch_of_second([SECOND], outcomes, ledger)
    remember([photo("00060", expected=4)], outcomes, Policy(), ledger, "yesterday", MOMENT.date())
    answer(ledger, FIRST.photo, "ann", said)
    tonight = mismatch_of_second([SECOND], outcomes, ledger)
    assert tonight > 1.5 * alone if still_a_witness else tonight == alone


def test_a_photo_before_without_a_quantity_in_the_record_says_nothing(ledger: Ledger) -> None:
    alone = mismatch_of_second([SECOND], {SECOND.photo: UNDECIDED}, ledger)
    silent = [photo("00060", expected=None), SECOND]
    outcomes = {FIRST.photo: seen(4), SECOND.photo: UNDECIDED}
    assert mismatch_of_second(silent, outcomes, ledger) == alone
