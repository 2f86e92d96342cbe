"""A record that is not of the photos is said to be so."""

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.nightly.coverage import RecordRead, measure_coverage
from tasks.nightly.entry import NO_ENTRY, NO_RECORD, NOT_OURS
from tests.ledgers import count_row

SNAPSHOT = RecordRead(source="s3://wms/record.csv", given=True, example="523")


def rows(**numbers: int) -> list[Any]:
    """Counted photos, of which so many have each problem."""
    problems = {
        "fine": None,
        "bad": "row 3 expects 'two'",
        "none": NO_ENTRY,
        "forbidden": NOT_OURS,
        "before": NO_RECORD,
    }
    said = [problems[name] for name, number in numbers.items() for _ in range(number)]
    return [SimpleNamespace(**count_row(f"new/{n:05}.jpg", record_problem=said)) for n, said in enumerate(said)]


@pytest.mark.parametrize(
    ("counted", "without", "remarked", "needs_a_person"),
    [
        (rows(), 0, False, False),
        (rows(fine=10), 0, False, False),
        (rows(bad=10), 0, False, False),
        (rows(fine=5, none=5), 5, False, False),
        (rows(fine=4, none=6), 6, True, False),
        (rows(bad=1, none=9), 9, True, False),
        (rows(none=8, forbidden=1, before=1), 10, True, True),
    ],
)
def test_fewer_than_half_is_said_and_none_needs_a_person(
    counted: list[Any], without: int, remarked: bool, needs_a_person: bool
) -> None:
    found = measure_coverage(SNAPSHOT, counted)
    assert found.without_entry == without
    assert (found.remark is not None, found.needs_a_person) == (remarked, needs_a_person)
    assert not measure_coverage(SNAPSHOT, counted, names_others=True).needs_a_person


def test_the_remark_has_a_photo_and_a_row_to_compare() -> None:
    said = measure_coverage(SNAPSHOT, rows(none=1200)).remark
    assert said is not None
    assert "none of 1,200 counted photos has an entry in the record s3://wms/record.csv" in said
    assert "a photo is named 'new/00000.jpg', a row '523'" in said
    assert "zeros in front are never guessed" in said
    assert "3 of 4 counted photos have no entry" in str(measure_coverage(SNAPSHOT, rows(fine=1, none=3)).remark)
    empty = measure_coverage(SNAPSHOT.model_copy(update={"example": None}), rows(none=1))
    assert "it has no rows" in str(empty.remark)


def test_metadata_that_nobody_named_may_be_absent() -> None:
    beside = RecordRead(source="s3://bins/metadata", given=False)
    found = measure_coverage(beside, rows(none=3))
    assert "s3://bins/metadata/00000.json, for one, is not there" in str(found.remark)
    assert not found.needs_a_person
    assert measure_coverage(beside.model_copy(update={"given": True}), rows(none=3)).needs_a_person
    assert measure_coverage(None, rows(before=3)).remark is None
