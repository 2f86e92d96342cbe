"""What a bin is called, and which photo of it came before another."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.nightly.bins import before, overtaken, short_name
from tests.ledgers import MOMENT, count_row


def photo(name: str, day: int, **more: Any) -> Any:
    """A photo of November; ``products=None`` where a record names the bin, and not ABID's metadata."""
    return SimpleNamespace(**count_row(f"new/{name}.jpg", taken_at=MOMENT.replace(day=day), bin="A1", **more))


@pytest.mark.parametrize(
    ("bin_name", "products", "shown"),
    [
        ("z1/A-12", None, "z1/A-12"),
        ("A-12/", None, "A-12/"),
        ("new/900.jpg", None, "900.jpg"),
        ("new/00899", ["A"], "00899"),
        ("new/00899", [], "00899"),
    ],
)
def test_a_bin_that_the_record_names_is_shown_whole(bin_name: str, products: list[str] | None, shown: str) -> None:
    row = SimpleNamespace(**count_row("new/900.jpg", bin=bin_name, products=products))
    assert short_name(row) == shown


def test_where_the_record_names_the_bin_the_photo_before_is_the_one_that_was_taken_before() -> None:
    first, second = photo("900", 24, products=None), photo("12", 25, products=None)
    assert before(second, [first, second]) is first
    assert before(first, [first, second]) is None
    between, later = photo("5", 24, products=None, etag="e2"), photo("1", 26, products=None)
    between.taken_at += dt.timedelta(hours=5)
    assert before(second, [first, between, later]) is between


@pytest.mark.parametrize("day", [1, 25])
def test_where_abid_s_numbers_tell_the_bin_they_tell_the_order(day: int) -> None:
    first, second = photo("00899", day), photo("00900", 24)
    assert before(second, [first]) is first
    assert before(first, [second]) is None
    assert before(photo("00901", 24), [first, second]) is second


def test_photos_of_a_bin_that_is_told_in_two_ways_are_not_put_in_order() -> None:
    assert before(photo("12", 25), [photo("11", 24, products=None)]) is None


@pytest.mark.parametrize(("name", "products"), [("12", None), ("12", ["A"]), ("shelf", None)])
def test_what_lay_at_the_same_key_is_not_the_photo_before(name: str, products: list[str] | None) -> None:
    other = photo("11" if name == "12" else "side", 23, products=products)
    old, new = photo(name, 24, products=products), photo(name, 25, etag="e2", products=products)
    assert before(new, [old, new]) is None
    assert before(new, [other, old]) is other


def test_of_a_photo_that_was_replaced_the_newest_is_the_one_before() -> None:
    old, new = photo("00011", 23), photo("00011", 24, etag="e2")
    for others in ([new, old], [old, new]):
        assert before(photo("00012", 24), others) is new


def test_a_bin_is_judged_by_the_newest_of_its_photos_that_could_be_judged() -> None:
    first, second, third = (photo(name, 24) for name in ("00899", "00900", "00901"))
    elsewhere = SimpleNamespace(**count_row("new/00898.jpg", bin="A2"))
    assert overtaken([third, first, elsewhere, second]) == {first.photo, second.photo}
    third.score = None  # the record has no quantity for it, say
    assert overtaken([third, first, elsewhere, second]) == {first.photo}
    unreadable = photo("00700", 24, status="unreadable", score=None)
    assert overtaken([unreadable, third, second]) == set()


def test_of_photos_that_were_put_there_at_one_moment_the_record_s_bin_has_one_newest() -> None:
    both = [photo(name, 24, products=None) for name in ("900", "12")]
    assert len(overtaken(both)) == 1


def test_photos_of_a_bin_that_is_told_in_two_ways_do_not_overtake_each_other() -> None:
    assert overtaken([photo("12", 25), photo("11", 24, products=None)]) == set()
