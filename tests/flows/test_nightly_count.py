"""The nightly count as a user runs it: real servers, real jobs, a model that counts by brightness."""

import csv
import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from tasks.ledger.leases import lease
from tasks.nightly.judge import Policy
from tasks.nightly.policy import policy_facts
from tests.installation import Commands, Installation
from tests.nights import Warehouse, approve_brightness, metadata, photo


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Of an installation whose services are up, with an approved model."""
    running = Installation(tmp_path_factory.mktemp("warehouse") / "home")
    with running.services():
        approve_brightness(running)
        with running.commands() as commands:
            yield commands
    assert running.processes() == []


@pytest.fixture
def house(commands: Commands) -> Warehouse:
    return Warehouse(commands.installation, commands)


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
    assert "22 bins counted, 2 mismatches" in said
    rows = house.rows()
    assert len(rows) == 22
    wrong = rows["bin-images/00035.jpg brightness-1"]
    assert (wrong["expected"], wrong["count"], wrong["verdict"]) == (4, 1, "mismatch")
    assert wrong["mismatch"] > 0.9
    assert wrong["size"] == pytest.approx(3, abs=0.2)
    right = [row for key, row in rows.items() if not key.startswith("bin-images/0003")]
    assert {row["verdict"] for row in right} <= {"match"}

    folder = house.installation.home / "runs" / "latest"
    table = list(csv.DictReader((folder / "exceptions.csv").read_text().splitlines()))
    assert {row["key"] for row in table[:2]} == {"bin-images/00035.jpg", "bin-images/00036.jpg"}
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

    # The same night again: nothing is counted, nothing changes, the page still shows the night.
    said = house.night()
    assert "22 bins counted, 2 mismatches" in said
    assert house.rows() == rows
    assert house.jobs() == jobs
    assert "00035" in (folder.resolve().parent / "latest" / "report.html").read_text()

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
    assert "2 bins counted, 1 mismatches" in house.night()
    lenient, thresholds = by()
    assert thresholds == "30% default"
    likely = house.rows()["bin-images/10.jpg brightness-1"]["mismatch"]
    assert likely < 0.9999

    house.use_new_ledger()
    group = {"BINVENTORY_MODEL_GROUP": "strict"}
    strict = policy_facts(Policy(mismatch_from=0.9999, match_below=0.01, chosen_on="strict photos"))
    approve_brightness(house.installation, "strict", **strict)
    with with_variables(house, **group):
        assert "2 bins counted, 0 mismatches" in house.night()
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
            assert "2 bins counted, 0 mismatches" in house.night("--recount")
            assert house.installation.summary()["night"]["date"] == day.isoformat()
            assert by() == judged
            assert "No new photos tonight" not in page.read_text()
            assert pq.read_table(parquet).num_rows == 2
            assert house.rows() == rows

            house.put_bin("30", seen=3, expected=3)
            assert "1 bins counted" in house.night()
            assert pq.read_table(parquet)["key"].to_pylist() == ["bin-images/30.jpg"]  # not all that the ledger has
            assert house.ledger().size() == 3
    with with_variables(house, BINVENTORY_TIMEZONE="UTC"):
        house.night()  # the model is not in this group: the page names it, and claims no thresholds
        assert by() == (judged[0], "")


def test_bad_input_is_reported_apart_and_loses_nothing(house: Warehouse) -> None:
    house.put_bin("00010", seen=3, expected=3)
    odd = ["with space.jpg", "ünï-数.jpg", "line\nend.jpg", "+plus &amp;=%20.jpg"]
    for number, name in enumerate(odd):
        house.put(f"bin-images/{name}", photo(number % 5 + 1, number))
    house.put("bin-images/broken.jpg", b"GIF89a, or rather nothing")
    house.put("bin-images/cut.jpg", photo(4)[:300])
    house.put("bin-images/empty.jpg", b"")
    house.put("bin-images/huge.jpg", photo(4) + b"\0" * 50_000_000)
    house.put("bin-images/large.jpg", photo(4) + b"\0" * 8_000_000)
    house.put("bin-images/notes.txt", b"not a photo")
    house.put("bin-images/negative.jpg", photo(2, 7))
    house.put("metadata/negative.json", metadata(-4))
    house.put("bin-images/garbled.jpg", photo(2, 8))
    house.put("metadata/garbled.json", b"{EXPECTED")
    house.put("bin-images/beyond.jpg", photo(6, 9))
    house.put("metadata/beyond.json", metadata(3))
    house.put("bin-images/many.jpg", photo(5, 10))
    house.put("metadata/many.json", metadata(40))
    said = house.night()
    assert not re.search("^Traceback", said, re.MULTILINE)  # the model's own log, which is shown, has one
    assert "4 photos unreadable" in said
    rows = {row["key"].removeprefix("bin-images/"): row for row in house.rows().values()}
    assert set(rows) == {
        *odd, "00010.jpg", "broken.jpg", "cut.jpg", "empty.jpg", "huge.jpg", "large.jpg", "negative.jpg",
        "garbled.jpg", "beyond.jpg", "many.jpg",
    }  # fmt: skip
    assert [rows[name]["count"] for name in odd] == [1, 2, 3, 4]
    unreadable = {name: row["reason"] for name, row in rows.items() if row["status"] == "unreadable"}
    assert set(unreadable) == {"broken.jpg", "cut.jpg", "empty.jpg", "huge.jpg"}
    assert "not a whole JPEG" in unreadable["broken.jpg"]
    assert "at most 20,971,520" in unreadable["huge.jpg"]
    assert rows["large.jpg"]["count"] == 4
    assert "no EXPECTED_QUANTITY" in rows["negative.jpg"]["record_problem"]
    assert "not JSON" in rows["garbled.jpg"]["record_problem"]
    assert "no entry" in rows["with space.jpg"]["record_problem"]
    assert "than the model can count" in rows["beyond.jpg"]["verdict_reason"]
    assert "40 is beyond" in rows["many.jpg"]["verdict_reason"]
    assert house.installation.summary()["night"]["skipped"] == {"not a photo by its name": 1}
    left = house.s3.list_objects_v2(Bucket="binventory", Prefix="nightly/").get("Contents", [])
    assert not [item["Key"] for item in left if "/copies/" in item["Key"]]

    # The embedded S3, rclone over a folder, lists a line end otherwise once its cache of the folder is over.
    house.s3.delete_object(Bucket=house.bucket, Key="bin-images/line\nend.jpg")
    house.night()  # unreadable photos are not tried again
    assert len(house.rows()) == len(rows)


def test_a_record_as_csv_with_its_oddities(house: Warehouse, tmp_path: Path) -> None:
    for name in ("00523", "523", "7", "8", "9", "10"):
        house.put(f"bin-images/{name}.jpg", photo(2, len(name)))
    record = tmp_path / "record.csv"
    record.write_text(
        'id,expected,bin\n00523,2,A1\n523,5,A2\n7,-3,A3\n8,two,A4\nbin-images/9.jpg,2,"B,9"\n9,4,C\n99999,1,X\n'
    )
    house.night("--record", str(record))
    rows = {row["photo_id"]: row for row in house.rows().values()}
    assert (rows["00523"]["expected"], rows["00523"]["bin"], rows["00523"]["verdict"]) == (2, "A1", "match")
    assert (rows["523"]["expected"], rows["523"]["bin"], rows["523"]["verdict"]) == (5, "A2", "mismatch")
    assert rows["7"]["record_problem"] == "row 3 expects '-3', which is no whole number from 0"
    assert "'two'" in rows["8"]["record_problem"]
    assert "contradicts itself" in rows["9"]["record_problem"]
    assert "no entry" in rows["10"]["record_problem"]

    record.write_text("bin,amount\nA,1\n")
    house.put("bin-images/11.jpg", photo(1, 11))
    said = house.night("--record", str(record), code=1)
    assert "has the columns bin, amount; the record needs one of key, photo, id" in " ".join(said.split())
    assert len(house.rows()) == 6


def test_a_record_of_other_photos_fails_the_night(house: Warehouse, tmp_path: Path) -> None:
    house.put("bin-images/00523.jpg", photo(2, 1))
    house.put("bin-images/00524.jpg", photo(3, 2))
    record = tmp_path / "record.csv"
    record.write_text("id,expected\n523,2\n524,3\n")
    said = " ".join(house.night("--record", str(record), code=1).split())
    assert "none of 2 counted photos has an entry in the record" in said
    assert "'bin-images/00523.jpg', a row '523'" in said
    assert {row["count"] for row in house.rows().values()} == {2, 3}
    page = (house.installation.home / "runs" / "latest" / "report.html").read_text()
    assert "Nothing was judged" in page
    assert "none of 2 counted photos" in page
    assert "none of 2 counted photos" in house.installation.summary()["night"]["remarks"][0]
    assert house.told("binventory.night.without-record")

    jobs = house.jobs()
    record.write_text("id,expected\n00523,2\n00524,5\n")
    assert "2 bins counted, 1 mismatches" in house.night("--record", str(record))
    assert house.jobs() == jobs  # judged by what was counted before
    assert house.rows()["bin-images/00524.jpg brightness-1"]["verdict"] == "mismatch"


def test_an_empty_night_and_limits(house: Warehouse) -> None:
    zone, day = another_day()
    with with_variables(house, BINVENTORY_TIMEZONE=zone):
        said = house.night()
    assert "0 bins counted" in said
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


def test_without_an_approved_model_nothing_is_counted_and_a_person_is_told(house: Warehouse) -> None:
    house.put_bin("1", seen=1, expected=1)
    house.installation.environment["BINVENTORY_MODEL_GROUP"] = "nothing-in-here"
    try:
        said = house.night(code=1)
    finally:
        del house.installation.environment["BINVENTORY_MODEL_GROUP"]
    assert "no model in the group 'nothing-in-here' is approved" in " ".join(said.split())
    assert house.rows() == {}
    house.night()
    assert len(house.rows()) == 1


def test_two_nights_at_once_count_everything_once(house: Warehouse) -> None:
    for number in range(12):
        house.put_bin(str(100 + 5 * number), seen=number % 5 + 1, expected=number % 5 + 1)
    jobs = len(house.jobs())
    with lease(house.ledger(), f"night/{house.bucket}", 0):  # somebody is at it
        assert "Nothing was done" in house.night("--wait-minutes", "0")
        assert house.rows() == {}
    other = house.installation.start("flows.nightly_count", "--prefix", house.prefix)
    house.night()
    said, _ = other.communicate(timeout=300)
    assert other.returncode == 0, said
    assert len(house.rows()) == 12
    assert len(house.jobs()) == jobs + 1


STEPS = ("find", "count", "counted", "remember", "report", "tell")


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


def test_killed_in_each_step_or_on_bad_lines_the_ledger_is_that_of_an_undisturbed_night(house: Warehouse) -> None:
    fill(house)
    before = len(house.jobs())
    house.night()
    undisturbed = house.rows()
    assert len(undisturbed) == 50
    one_night = len(house.jobs()) - before

    house.use_new_ledger()
    for step in STEPS:
        killed = house.installation.start("tests.flows.night_killed_in_child", step, "--prefix", house.prefix)
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


def test_the_review_of_a_night_is_served_to_others_by_its_link_and_exported(house: Warehouse, tmp_path: Path) -> None:
    house.put_bin("10", seen=1, expected=4)
    house.night()
    serving = house.installation.start("flows.review", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - what is tested
    try:
        assert serving.stdout
        said = ""
        while "Open " not in said:
            line = serving.stdout.readline()
            assert line, said
            said += line
        assert "Warning: other machines can reach the page" in said
        [(port, token)] = re.findall(r"Open http://0\.0\.0\.0:(\d+)/\?token=(\S{24,})", said)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/").status_code == 403
            assert client.get(f"/?token={token}").status_code == 303
            client.post("/enter", data={"name": "ann"})
            [row] = house.rows().values()
            assert row["photo"] in client.get("/review").text
            assert client.post("/answer", data={"photo": row["photo"], "answer": "1"}).status_code == 303
    finally:
        serving.terminate()
        serving.communicate(timeout=60)
    labels, whole = tmp_path / "labels.parquet", tmp_path / "ledger.parquet"
    said = house.installation.run("flows.review", "--export", str(labels), "--export-ledger", str(whole))
    assert f"1 labels are in {labels}" in said
    assert f"1 rows are in {whole}" in said
    assert pq.read_table(labels).select(["id", "count"]).to_pylist() == [{"id": "10", "count": 1}]
    [exported] = pq.read_table(whole).to_pylist()
    assert [each["answer"] for each in exported["answers"]] == ["1"]
