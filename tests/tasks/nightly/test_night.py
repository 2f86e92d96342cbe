"""What a night is called, and what it finds."""

import datetime as dt
import io
from collections.abc import Callable
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import make_url

from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.nightly.night import date_of
from tasks.nightly.parameters import NightParameters
from tasks.nightly.photos import list_objects
from tasks.nightly.plan import find
from tasks.nightly.record import with_record
from tasks.object_store import ensure_bucket, open_store
from tasks.settings import Settings
from tests.ledgers import MOMENT
from tests.nights import metadata, photo
from training.errors import DataError


@pytest.mark.parametrize(("zone", "day"), [("UTC", 24), ("Europe/Berlin", 25), ("America/Chicago", 24)])
def test_a_night_has_the_date_of_the_time_zone_of_its_schedule(zone: str, day: int) -> None:
    moment = dt.datetime(2026, 11, 24, 23, 30, tzinfo=dt.UTC)
    assert date_of(moment, Settings(timezone=zone)) == dt.date(2026, 11, day)


def put(bucket: str, **bodies: bytes) -> str:
    """Objects in a bucket, ``__`` in their names for a slash and ``_`` for a dot; returns its URI."""
    ensure_bucket(f"s3://{bucket}")
    for name, body in bodies.items():
        obstore.put(open_store(f"s3://{bucket}"), name.replace("__", "/").replace("_", "."), body)
    return f"s3://{bucket}"


def as_parquet(**columns: list[object]) -> bytes:
    body = io.BytesIO()
    pq.write_table(pa.table(columns), body)
    return body.getvalue()


PARQUET = as_parquet(photo=["00523", "523", "x"], quantity=[2, 5, 1], Bin=["A1", None, "C"])
CSV = b"id,expected,bin\n00523,2,A1\n523,5,\n"


@pytest.mark.parametrize(
    "record",
    [
        lambda folder, uri: str(folder / "record.parquet"),
        lambda folder, uri: f"{uri}/record.parquet",
        lambda folder, uri: f"{uri}/record.csv",
    ],
    ids=["a path", "parquet on S3", "csv on S3"],
)
def test_a_record_is_parquet_or_csv_here_or_on_s3(s3: Path, tmp_path: Path, record: Callable[[Path, str], str]) -> None:
    uri = put("recorded", new__00523_jpg=photo(2), new__523_jpg=photo(5), new__7_jpg=photo(1), record_parquet=PARQUET,
              record_csv=CSV)  # fmt: skip
    (tmp_path / "record.parquet").write_bytes(PARQUET)
    parameters = NightParameters(prefix=f"{uri}/new/", record=record(tmp_path, uri))
    found = {one.photo_id: one for one in with_record(list(list_objects(parameters.prefix)), parameters)[0]}
    assert {name: (one.expected, one.bin) for name, one in found.items()} == {
        "00523": (2, "A1"),
        "523": (5, ""),
        "7": (None, ""),
    }
    assert found["7"].record_problem == "the record has no entry for it"


def test_a_record_on_s3_is_abid_s_metadata_under_any_prefix(s3: Path) -> None:
    uri = put("elsewhere", new__1_jpg=photo(2), wms__1_json=metadata(4, "P1"))
    parameters = NightParameters(prefix=f"{uri}/new/", record=f"{uri}/wms")
    [found], _ = with_record(list(list_objects(parameters.prefix)), parameters)
    assert (found.expected, found.products) == (4, ["P1"])


@pytest.mark.parametrize(
    ("prefix", "metadata"),
    [
        ("s3://bins/bin-images/", "s3://bins/metadata"),
        ("s3://bins/bin-images", "s3://bins/metadata"),
        ("s3://bins/a//bin-images/2026/11", "s3://bins/a//metadata"),
        ("s3://bins/bin-images/old/bin-images/", "s3://bins/bin-images/old/metadata"),
        ("s3://acme-bin-images/incoming/", None),
        ("s3://bin-images/incoming/", None),
        ("s3://bins/bin-images-2026/", None),
        ("s3://bins", None),
    ],
)
def test_metadata_is_looked_for_beside_a_folder_of_just_that_name(
    monkeypatch: pytest.MonkeyPatch, prefix: str, metadata: str | None
) -> None:
    monkeypatch.setattr("tasks.nightly.record._metadata", lambda uri, photos: {})
    _, read = with_record([], NightParameters(prefix=prefix))
    assert (read and read.source) == metadata


def test_a_record_that_is_not_on_s3_or_is_no_parquet_is_named(s3: Path) -> None:
    uri = put("unrecorded", new__1_jpg=photo(2), broken_parquet=b"no table")
    for name, said in (("missing.csv", "cannot be read"), ("broken.parquet", "cannot be read")):
        parameters = NightParameters(prefix=f"{uri}/new/", record=f"{uri}/{name}")
        with pytest.raises(DataError, match=rf"{uri}/{name} {said}"):
            with_record(list(list_objects(parameters.prefix)), parameters)


@pytest.mark.parametrize("head", ["id,expected,expected", "id,ID,expected", "id,expected,bin,Bin"])
def test_a_record_with_a_column_twice_is_refused(s3: Path, tmp_path: Path, head: str) -> None:
    uri = put("doubled", new__1_jpg=photo(2))
    (tmp_path / "record.csv").write_text(f"{head}\n{','.join('1' for _ in head.split(','))}\n")
    parameters = NightParameters(prefix=f"{uri}/new/", record=str(tmp_path / "record.csv"))
    with pytest.raises(DataError, match=r"record.csv has more than one column '(id|expected|bin)'"):
        with_record(list(list_objects(parameters.prefix)), parameters)


@pytest.mark.parametrize(("said", "expected"), [("2", 2), ("2.0", 2), ("1_0", None), ("-1", None), ("two", None)])
def test_an_expected_quantity_is_a_plain_number(s3: Path, tmp_path: Path, said: str, expected: int | None) -> None:
    uri = put("plain", new__1_jpg=photo(2))
    (tmp_path / "record.csv").write_text(f"id,expected\n1,{said}\n")
    parameters = NightParameters(prefix=f"{uri}/new/", record=str(tmp_path / "record.csv"))
    [found], _ = with_record(list(list_objects(parameters.prefix)), parameters)
    assert found.expected == expected
    assert (found.record_problem is None) == (expected is not None)


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [(0, None, 1), (None, 0, 1), (0, 0, 1), (-3, 3, 1), (1, None, 0), (None, -1, 0), (-3, -1, 0)],
)
def test_dates_are_those_on_which_photos_were_put_on_s3(
    s3: Path, tmp_path: Path, since: int | None, until: int | None, found: int
) -> None:
    prefix = f"{put('dated', new__1_jpg=photo(2))}/new/"
    [listed] = list_objects(prefix)

    def day(days: int | None) -> dt.date | None:
        return None if days is None else listed.taken_at.date() + dt.timedelta(days=days)

    ledger = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{tmp_path}/ledger.db")))
    plan = find(
        NightParameters(prefix=prefix, since=day(since), until=day(until)), ledger, tmp_path, "run", MOMENT.date()
    )
    assert len(plan.photos) == found
    assert plan.skipped == ({} if found else {"outside the dates": 1})
    ledger.engine.dispose()
