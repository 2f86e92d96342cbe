"""Nights that are killed, run twice at once, or whose model fails: nothing is counted twice, and nothing is lost."""

import pytest

from tasks.ledger.leases import lease
from tests.nights import Warehouse, approve_brightness, metadata, photo


def test_two_nights_at_once_count_everything_once(house: Warehouse) -> None:
    for number in range(12):
        house.put_bin(str(100 + 5 * number), seen=number % 5 + 1, expected=number % 5 + 1)
    jobs = len(house.jobs())
    with lease(house.ledger(), f"night/{house.bucket}", 0, house.prefix):  # somebody is at it
        assert "Nothing was done" in house.night("--wait-minutes", "0")
        elsewhere = f"s3://{house.bucket}/hall-2/"  # which that one does not count
        said = house.night("--prefix", elsewhere, "--wait-minutes", "0", code=1)
        assert f"{elsewhere} was not counted: another run is at it" in " ".join(said.split())
        assert house.rows() == {}
    other = house.commands.start("flows.nightly_count", "--prefix", house.prefix)
    house.night()
    said, _ = other.communicate(timeout=300)
    assert other.returncode == 0, said
    assert len(house.rows()) == 12
    assert len(house.jobs()) == jobs + 1


STEPS = ("find", "count", "counted", "remember", "report", "tell")
COSTLIEST = ("count", "remember")
"""A job is under way and paid for; the ledger is being written."""


def fill(house: Warehouse) -> None:
    """Forty bins, a fifth of them with a photo before; a few records wrong, one key odd, one photo broken."""
    for number in range(40):
        seen = number % 5 + 1
        house.put_bin(f"{number * 10:05}", seen=seen, expected=seen if number % 9 else (seen + 1) % 5 + 1)
        if number % 5 == 0:
            house.put(f"bin-images/{number * 10 + 1:05}.jpg", photo(seen, number))
            house.put(f"metadata/{number * 10 + 1:05}.json", metadata(seen, f"P{number * 10:05}"))
    house.put("bin-images/an ödd key.jpg", photo(2, 3))
    house.put("bin-images/broken.jpg", b"no photo")


@pytest.mark.parametrize("steps", [COSTLIEST, pytest.param(STEPS, marks=pytest.mark.drill)], ids=" ".join)
def test_killed_in_steps_or_on_bad_lines_the_ledger_is_that_of_an_undisturbed_night(
    house: Warehouse, steps: tuple[str, ...]
) -> None:
    fill(house)
    before = len(house.jobs())
    house.night()
    undisturbed = house.rows()
    assert len(undisturbed) == 50
    totals = house.installation.summary()["night"]
    assert totals["overtaken"] == 8
    assert sum(totals[name] for name in ("match", "mismatch", "uncertain", "overtaken")) == totals["counted"] == 49
    one_night = len(house.jobs()) - before

    house.use_new_ledger()
    for step in steps:
        killed = house.commands.start("tests.flows.nights.killed_in_child", step, "--prefix", house.prefix)
        said, _ = killed.communicate(timeout=300)
        assert killed.returncode == -9, said
    house.night()
    assert house.rows() == undisturbed
    assert len(house.jobs()) == before + 2 * one_night  # no job was paid for twice

    house.use_new_ledger()
    for fault in (("s3-latency", "20"), ("s3-cut", "12"), ("s3-fail", "5"), ("throttle", "4"), ("fail", "2")):
        house.installation.localcloud("faults", *fault)
    try:
        house.night()
    finally:
        house.installation.localcloud("faults", "clear")
    assert house.rows() == undisturbed


def test_what_a_failing_model_leaves_over_is_said_and_counted_the_next_time(house: Warehouse) -> None:
    for number in range(6):
        house.put_bin(str(10 * number), seen=3, expected=3)
    house.put("bin-images/77.jpg", photo(3) + b"FAIL")  # the model crashes over this one, and only at first
    house.put("metadata/77.json", metadata(3))
    said = house.night(code=1)
    assert "1 of 7 new photos were not counted" in " ".join(said.split())
    assert "PARTIAL" in said
    assert len(house.rows()) == 6
    partial = house.installation.summary()
    house.installation.environment["BINVENTORY_MODEL_GROUP"] = "mended"
    try:
        approve_brightness(house.installation, group="mended", patience="endless")
        house.night()
    finally:
        del house.installation.environment["BINVENTORY_MODEL_GROUP"]
    assert {row["count"] for row in house.rows().values()} == {3}
    assert len(house.rows()) == 7
    summary = house.installation.summary()
    assert summary["run_id"] != partial["run_id"]  # its page, and its place among the nights, stay its own
    assert (partial["night"]["new"], summary["night"]["new"]) == (7, 1)
    assert house.told("binventory.night.partial")
