"""The nightly count as a user runs it: real servers, real jobs, a model that counts by brightness."""

import csv
import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest

from tasks.nightly.judge import Policy
from tasks.nightly.policy import policy_facts
from tests.nights import Warehouse, approve_brightness, metadata, photo


def test_a_night_its_repetition_and_the_next_one(house: Warehouse) -> None:
    for number in range(1, 21):
        house.put_bin(f"{number * 10:05}", seen=number % 5 + 1, expected=number % 5 + 1)
    house.put_bin("00035", seen=1, expected=4)  # three too many in the record
    house.put_bin(
        "00036",
        seen=2,
        expected=5,
    )
    said = house.night()
    assert "22 photos counted, 2 mismatches" in said
    rows = house.rows()
    assert len(rows) == 22
    wrong = rows["bin-images/00035.jpg brightness-1"]
    assert (wrong["expected"], wrong["count"], wrong["verdict"]) == (4, 1, "mismatch")
    assert wrong["mismatch"] > 0.9
    assert wrong["size"] == pytest.approx(3, abs=0.2)
    right = [row for key, row in rows.items() if not key.startswith("bin-images/0003")]
    assert {row["verdict"] for row in right} <= {"match"}

    folder = house.installation.home / "runs" / "latest"
    table = (folder / "exceptions.csv").read_text()
    flagged = [row["key"] for row in csv.DictReader(table.splitlines())]
    assert {*flagged[:2]} == {"bin-images/00035.jpg", "bin-images/00036.jpg"}
    assert (folder / "report.html").stat().st_size > 10_000
    summary = house.installation.summary()
    published = house.s3.list_objects_v2(Bucket="binventory", Prefix=f"nightly/{summary['run_id']}/")["Contents"]
    assert {"report.html", "exceptions.csv"} <= {item["Key"].rpartition("/")[2] for item in published}
    wanted = {"key": {"any_": ["exceptions"]}, "type": {"any_": ["table"]}}
    [artifact] = house.installation.prefect("artifacts/latest/filter", artifacts=wanted)
    assert "bin-images/00035.jpg" in artifact["data"]
    assert summary["night"]["counted"] == 22
    assert summary["cost"]["billable_seconds"]["count"] > 0
    assert 0 < summary["cost"]["total_usd"] < 0.1
    jobs = house.jobs()

    # The same night again: nothing is counted, nothing changes, the page still shows the night; a shorter one, here.
    said = house.night("--most-exceptions", "1")
    assert "22 photos counted, 2 mismatches" in said
    assert house.rows() == rows
    assert house.jobs() == jobs
    page = (folder / "report.html").read_text()
    assert flagged[0] in page
    assert flagged[1] not in page
    assert [row["key"] for row in csv.DictReader((folder / "exceptions.csv").read_text().splitlines())] == flagged

    # More photos: only those are counted; one is of a bin that the ledger knows.
    house.put("bin-images/00061.jpg", photo(3, 61))
    house.put("metadata/00061.json", metadata(3, "P00060"))
    house.put_bin("00500", seen=2, expected=2)
    house.night()
    after = house.rows()
    assert {key: after[key] for key in rows} == rows
    assert len(after) == 24
    assert len(house.jobs()) == len(jobs) + 1
    before = after["bin-images/00060.jpg brightness-1"]
    assert after["bin-images/00061.jpg brightness-1"]["before"] == before["photo"]
    assert after["bin-images/00061.jpg brightness-1"]["bin"] == before["bin"]

    # A changed photo is a new photo; recounting writes nothing new for the others.
    house.put("bin-images/00500.jpg", photo(5, 9))
    house.night("--recount")
    last = house.rows()
    assert len(last) == 24  # by key and model the newer of the two
    assert house.ledger().size() == 25
    assert house.told("binventory.night.finished", "binventory.exceptions.found")


@contextmanager
def with_variables(house: Warehouse, **variables: str) -> Iterator[None]:
    """Nights in the block have these variables too."""
    house.installation.environment |= variables
    try:
        yield
    finally:
        for name in variables:
            del house.installation.environment[name]


def another_day() -> tuple[str, dt.date]:
    """A time zone in which it is another day than in UTC, and the date there."""
    utc = dt.datetime.now(dt.UTC)
    zone, day = ("Pacific/Kiritimati", 1) if utc.hour >= 10 else ("Etc/GMT+12", -1)
    return zone, (utc + dt.timedelta(days=day)).date()


def test_a_night_is_judged_and_reported_by_its_model_s_thresholds_also_when_repeated_and_recounted(
    house: Warehouse,
) -> None:
    runs = house.installation.home / "runs"
    page, parquet = runs / "latest" / "report.html", runs / "latest" / "night.parquet"

    def by() -> tuple[str, str]:
        """The model that the page names, and what it says of thresholds."""
        said = " ".join(page.read_text().split())
        found = re.search(r"A bin is a mismatch from (\d+ ?%).*?\(thresholds: (.*?)\)", said)
        return re.findall(r" · model (\S+) · run", said)[0], " ".join(found.groups()) if found else ""

    house.put_bin("10", seen=1, expected=4)
    house.put_bin("20", seen=2, expected=2)
    assert "2 photos counted, 1 mismatches" in house.night()
    lenient, thresholds = by()
    assert thresholds == "30% default"
    likely = house.rows()["bin-images/10.jpg brightness-1"]["mismatch"]
    assert likely < 0.9999

    house.use_new_ledger()
    group = {"BINVENTORY_MODEL_GROUP": "strict"}
    strict = policy_facts(Policy(mismatch_from=0.9999, match_below=0.01, chosen_on="strict photos"))
    approve_brightness(house.installation, "strict", **strict)
    with with_variables(house, **group):
        assert "2 photos counted, 0 mismatches" in house.night()
        assert house.rows()["bin-images/10.jpg brightness-1"]["verdict"] == "uncertain"
        judged = by()
        assert judged[0] != lenient
        assert judged[1] == "100% strict photos"
        house.night()  # nothing is new, and the page still says who judged what it shows
        assert by() == judged
        assert house.installation.summary()["night"]["model"] == judged[0]

        rows = house.rows()
        zone, day = another_day()
        with with_variables(house, BINVENTORY_TIMEZONE=zone):
            assert "2 photos counted, 0 mismatches" in house.night("--recount")
            assert house.installation.summary()["night"]["date"] == day.isoformat()
            assert by() == judged
            assert "No new photos tonight" not in page.read_text()
            assert pq.read_table(parquet).num_rows == 2
            assert house.rows() == rows

            house.put_bin("30", seen=3, expected=3)
            assert "1 photos counted" in house.night()
            assert pq.read_table(parquet)["key"].to_pylist() == ["bin-images/30.jpg"]  # not all that the ledger has
            assert house.ledger().size() == 3
    with with_variables(house, BINVENTORY_TIMEZONE="UTC"):
        house.night()  # the model is not in this group: the page names it, and claims no thresholds
        assert by() == (judged[0], "")


def test_an_empty_night_and_limits(house: Warehouse) -> None:
    zone, day = another_day()
    with with_variables(house, BINVENTORY_TIMEZONE=zone):
        said = house.night()
    assert "0 photos counted" in said
    assert house.installation.summary()["night"]["date"] == day.isoformat()
    page = (house.installation.home / "runs" / "latest" / "report.html").read_text()
    assert "No new photos tonight" in page
    assert "thresholds:" not in page  # nothing was judged
    for number in range(5):
        house.put(f"bin-images/{number}.jpg", photo(3, number))
    house.night("--limit", "2", "--until", "2100-01-01")
    assert len(house.rows()) == 2
    assert house.installation.summary()["night"]["skipped"] == {"beyond the limit": 3}
    house.night("--since", "2100-01-01")
    assert len(house.rows()) == 2
    said = house.night("--prefix", "s3://no-such-bucket/x", code=1)
    assert "There is no bucket 'no-such-bucket'" in said


def test_an_endpoint_counts_as_jobs_do(house: Warehouse) -> None:
    for number in range(1, 7):
        house.put_bin(str(10 * number), seen=number % 5 + 1, expected=3)
    house.put("bin-images/broken.jpg", b"no photo")
    house.put("bin-images/large.jpg", photo(4) + b"\0" * 8_000_000)  # more than an endpoint takes
    house.night()
    by_jobs, jobs = house.rows(), house.jobs()

    client = house.installation.client("sagemaker")
    model = client.describe_transform_job(TransformJobName=jobs[-1])["ModelName"]
    variant = {"VariantName": "main", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName="bright", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="bright", EndpointConfigName="bright")
    client.get_waiter("endpoint_in_service").wait(EndpointName="bright", WaiterConfig={"Delay": 1})

    house.use_new_ledger()
    said = house.night("--endpoint", "bright")
    assert "WARNING" not in said
    rows = house.rows()
    reasons = {rows["bin-images/broken.jpg "].pop("reason"), by_jobs["bin-images/broken.jpg "].pop("reason")}
    assert len(reasons) == 2  # the endpoint's own words, and our decoder's
    assert rows == by_jobs
    assert rows["bin-images/large.jpg brightness-1"]["count"] == 4
    assert len(house.jobs()) == len(jobs) + 1  # for the large one
    assert house.installation.summary()["cost"]["billable_seconds"]["count"] > 0
    client.delete_endpoint(EndpointName="bright")
    client.get_waiter("endpoint_deleted").wait(EndpointName="bright", WaiterConfig={"Delay": 1})
