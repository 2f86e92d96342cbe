"""A night beside the last ones, and the CSV for the warehouse's system."""

import csv
import re
from types import SimpleNamespace
from typing import Any

from tasks.nightly.report import as_csv, exceptions, unjudged
from tasks.nightly.summary import OUT_OF_RANGE, count_mix, mean_confidence, measure_drift
from tests.ledgers import count_row

USUAL = {"1": 0.2, "2": 0.3, "3": 0.3, "4": 0.2}


def night(counted: int = 1000, confidence: float = 0.6, mix: dict[str, float] | None = None) -> Any:
    return SimpleNamespace(totals={"counted": counted}, confidence=confidence, mix=mix or USUAL)


def row(**more: Any) -> Any:
    return SimpleNamespace(**count_row(**more))


def test_the_mix_has_what_is_out_of_range_as_a_class_of_its_own() -> None:
    rows = [row(count=3), row(count=3), row(count=1, out_of_range=0.9), row(status="unreadable", count=None)]
    mix = count_mix(rows, 0.5)
    assert {count: round(share, 3) for count, share in mix.items()} == {"3": 0.667, OUT_OF_RANGE: 0.333}
    assert mean_confidence(rows) == 0.6
    assert mean_confidence([]) is None


def test_a_usual_night_raises_no_alarm() -> None:
    assert measure_drift(USUAL, 0.61, 1000, [night(), night(), night()]).alarms == []


def test_another_mix_and_another_confidence_are_told_apart_and_in_words() -> None:
    last = [night()] * 5
    mix = measure_drift({"1": 0.7, "2": 0.1, "3": 0.1, "4": 0.1}, 0.6, 1000, last)
    [alarm] = mix.alarms
    assert "70% of the bins are counted as 1, usually 20%" in alarm
    confidence = measure_drift(USUAL, 0.45, 1000, last)
    assert confidence.alarms == ["the model is less sure than usual: 45%, not 60%"]


def test_small_nights_and_short_memories_say_nothing() -> None:
    odd = {"1": 1.0}
    assert measure_drift(odd, 0.9, 20, [night()] * 5).psi is None
    assert measure_drift(odd, 0.9, 1000, [night()] * 2).psi is None
    assert measure_drift(odd, 0.9, 1000, [night(counted=0)] * 9).psi is None
    assert measure_drift(odd, None, 0, []).alarms == []


def test_a_hundred_photos_that_differ_by_chance_are_no_alarm() -> None:
    by_chance = {"1": 0.27, "2": 0.24, "3": 0.28, "4": 0.21}
    assert measure_drift(by_chance, 0.6, 100, [night(counted=100)] * 3).alarms == []


def test_exceptions_are_what_has_a_score_and_is_no_match() -> None:
    rows = [
        row(verdict="match"),
        row(verdict="mismatch"),
        row(verdict="uncertain"),
        row(verdict="uncertain", score=None),
    ]
    assert exceptions(rows) == rows[1:3]


def test_a_bin_is_an_exception_once_by_its_newest_photo_and_none_where_that_matches() -> None:
    before, after = row(key="bins/10.jpg", bin="10"), row(key="bins/11.jpg", bin="10", score=0.1)
    other = row(key="bins/20.jpg", bin="20")
    assert exceptions([before, other, after]) == [other, after]
    after.verdict = "match"
    assert exceptions([before, other, after]) == [other]
    before.score = None
    assert unjudged([before, other, after]) == []


def test_the_csv_holds_odd_keys_and_no_formulas() -> None:
    rows = [row(key='a "b",\nc.jpg', bin="=HYPERLINK(1)"), row(key="+x.jpg", bin="'A-1", verdict_reason="-1")]
    found = list(csv.DictReader(as_csv(rows).splitlines(keepends=True)))
    assert found[0]["key"] == 'a "b",\nc.jpg'
    assert found[0]["bin"] == "'=HYPERLINK(1)"
    assert found[1]["key"] == "'+x.jpg"
    assert [re.sub(r"^'(?=[=+\-@\t\r])", "", each["bin"]) for each in found] == [each.bin for each in rows]
    assert (found[0]["rank"], found[0]["expected"], found[0]["counted"]) == ("1", "5", "3")
    assert found[0]["probability_of_mismatch"] == "0.5000"
