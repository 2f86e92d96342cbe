"""What a night is called, and what it finds."""

import datetime as dt

import pytest

from tasks.nightly.night import date_of
from tasks.settings import Settings


@pytest.mark.parametrize(("zone", "day"), [("UTC", 24), ("Europe/Berlin", 25), ("America/Chicago", 24)])
def test_a_night_has_the_date_of_the_time_zone_of_its_schedule(zone: str, day: int) -> None:
    moment = dt.datetime(2026, 11, 24, 23, 30, tzinfo=dt.UTC)
    assert date_of(moment, Settings(timezone=zone)) == dt.date(2026, 11, day)
