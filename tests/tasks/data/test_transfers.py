"""Fetching a chunk from a source that fails, lies or is out of reach."""

import asyncio
from pathlib import Path

import pytest

from tasks.data.fetch import Reader, fetch
from tasks.data.metadata_stage import fetch_metadata
from tasks.data.sources import Source
from tasks.transient import is_transient
from tests.tasks.bucket_server import serving
from tests.tasks.data.photo_bucket import Bucket, a_photo
from training.errors import SourceError, TransferError


@pytest.mark.usefixtures("impatient")
def test_what_was_given_up_is_said_to_be_out_of_reach_and_asked_for_again(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.put("8", 2)
    chunk = bucket.listed(_7=4, _8=3)
    bucket.odd(**{"bin-images/7.jpg": "failing", "metadata/8.json": "failing"})
    assert bucket.fetch(chunk) == {"7": "unreachable", "8": "ok"}
    assert (bucket.counts.given_up, bucket.counts.missing) == (1, 0)
    assert bucket.rows["8"]["flags"] == ["metadata_unreachable"]
    bucket.odd()
    assert bucket.fetch(chunk) == {"7": "ok", "8": "ok"}
    assert bucket.rows["8"]["flags"] == ["measure_absent", "list_differs"]


@pytest.mark.usefixtures("impatient")
def test_a_body_of_the_right_length_and_another_md5_is_not_believed(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.odd(**{"bin-images/7.jpg": "swapped"})
    chunk = bucket.listed(_7=4)
    assert bucket.fetch(chunk) == {"7": "unreachable"}
    assert bucket.files() == []
    with pytest.raises(TransferError, match="doesn't have the MD5"):
        asyncio.run(fetch(bucket.source.open(), "bin-images/7.jpg"))


def test_a_source_whose_etags_are_no_md5s_is_read(bucket: Bucket) -> None:
    for photo_id in ("7", "8", "9"):
        bucket.put(photo_id, 4)
    bucket.odd(**{"bin-images": "encrypted", "metadata": "encrypted"})
    chunk = bucket.listed(_7=4, _8=4, _9=4)
    assert bucket.fetch(chunk) == {"7": "ok", "8": "ok", "9": "ok"}
    assert bucket.workspace.photo("7", 4).read_bytes() == a_photo(7)
    bucket.put("8", 4, a_photo()[:-200])
    bucket.gets()
    assert bucket.fetch(chunk, refresh=True) == {"7": "ok", "8": "corrupt truncated", "9": "ok"}
    assert set(bucket.gets()) == {"bin-images/8.jpg"}


def fetched_twice(bucket: Bucket, photo_ids: str) -> str:
    """Read photos one after another, of one digit each; returns those that were asked for twice."""

    async def read() -> None:
        reader = Reader(bucket.source.open(), trusted=False)
        for photo_id in photo_ids:
            await reader.fetch(f"bin-images/{photo_id}.jpg")

    bucket.gets()
    asyncio.run(read())
    gets = bucket.gets()
    return "".join(i for i in photo_ids if gets.count(f"bin-images/{i}.jpg") == 2)


@pytest.mark.usefixtures("impatient")
def test_only_the_first_photo_is_fetched_twice_where_all_etags_are_no_md5s(bucket: Bucket) -> None:
    for photo_id in "123456":
        bucket.put(photo_id, 4)
    bucket.odd(**{"bin-images": "encrypted"})
    assert fetched_twice(bucket, "1234") == "1"
    bucket.odd(**{f"bin-images/{i}.jpg": "encrypted" for i in "1245"})
    # From the first MD5 on, nobody knows which photos have one: each that differs might have been damaged.
    assert fetched_twice(bucket, "123456") == "145"
    bucket.odd(**{"bin-images/1.jpg": "encrypted", "bin-images/3.jpg": "swapped"})
    with pytest.raises(TransferError, match="doesn't have the MD5"):
        fetched_twice(bucket, "123")


@pytest.mark.usefixtures("impatient")
def test_what_is_known_stands_while_the_source_cannot_be_asked(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.put("8", 4, b"")
    chunk = bucket.listed(_7=4, _8=4)
    bucket.fetch(chunk)
    bucket.odd(**{"bin-images": "failing", "metadata": "failing"})
    assert bucket.fetch(chunk, refresh=True) == {"7": "ok", "8": "corrupt empty"}
    bucket.workspace.photo("7", 4).write_bytes(b"damaged here")
    assert bucket.fetch(chunk) == {"7": "unreachable", "8": "corrupt empty"}
    assert bucket.files() == ["quarantine/empty/8.jpg", "quarantine/unreachable/7.jpg"]
    bucket.odd()
    assert bucket.fetch(chunk) == {"7": "ok", "8": "corrupt empty"}
    assert bucket.files() == ["quarantine/empty/8.jpg", "train_data/4/7.jpg"]


@pytest.mark.usefixtures("impatient")
def test_another_sources_photos_are_not_taken_for_those_that_cannot_be_had(bucket: Bucket) -> None:
    bucket.put("7", 4)
    chunk = bucket.listed(_7=3)
    bucket.workspace.changes_source("a")
    bucket.fetch(chunk)
    bucket.workspace.changes_source("b")
    bucket.put("7", 3, a_photo(99))
    bucket.odd(**{"bin-images": "failing", "metadata": "failing"})
    for _ in range(2):
        assert bucket.fetch(chunk, refresh=True) == {"7": "unreachable"}
        assert bucket.rows["7"]["flags"] == ["metadata_unreachable"]
        assert bucket.files() == ["quarantine/unreachable/7.jpg"]
    bucket.odd()
    assert bucket.fetch(chunk, refresh=True) == {"7": "ok"}
    assert bucket.workspace.photo("7", 3).read_bytes() == a_photo(99)


def test_a_bucket_that_is_not_there_is_no_missing_photo(bucket: Bucket) -> None:
    with pytest.raises(SourceError, match="bucket does not exist"):
        fetch_metadata(bucket.listed(_7=4), Source("s3://elsewhere"))


def test_a_row_of_failures_says_why_the_last_one_failed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.fetch.fetch_again.retry.stop", lambda _: True)
    monkeypatch.setattr("tasks.data.fetch._FAILURES_IN_A_ROW", 3)
    chunk = bucket.listed(**{f"_{i}": 1 for i in range(5)})
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    why = r"3 transfers in a row failed.*metadata/\d\.json.*http://127\.0\.0\.1:9/bins"
    with pytest.raises(TransferError, match=why) as caught:
        fetch_metadata(chunk, bucket.source)
    assert is_transient(caught.value)
    assert isinstance(caught.value.__cause__, TransferError)


def test_failing_and_cut_answers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    bucket = Bucket(tmp_path)
    wanted = {f"_{i}": i % 5 + 1 for i in range(1, 120)}
    for name, count in wanted.items():
        bucket.put(name[1:], count)
    with serving(bucket.folder, "--fail-rate", "0.1", "--cut-rate", "0.1") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        statuses = bucket.fetch(bucket.listed(**wanted))
    assert set(statuses.values()) == {"ok"}
    assert all(bucket.workspace.photo(n[1:], c).read_bytes() == a_photo(int(n[1:])) for n, c in wanted.items())
