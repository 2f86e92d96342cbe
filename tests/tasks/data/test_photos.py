"""Fetching a chunk: what is fetched, what isn't, and what becomes of the bad ones."""

import asyncio
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.data.catalog import join_partition, write_catalog
from tasks.data.chunks import Chunk, split_into_chunks, write_listing
from tasks.data.fetch import Reader, fetch
from tasks.data.file_list import SCHEMA
from tasks.data.grouping import group_photos, split_photos
from tasks.data.metadata_stage import fetch_metadata
from tasks.data.photo_ids import PARTITIONS
from tasks.data.photos import fetch_photos
from tasks.data.sources import Source
from tasks.data.tidy import tidy
from tasks.data.workspace import Workspace
from tests.tasks.bucket_server import serving
from tests.tasks.data.odd_server import ODD, serving_oddly
from training.errors import SourceError, TransferError


def a_photo(shade: int = 90) -> bytes:
    body = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).point(lambda v: v ^ shade).convert("RGB").save(body, "JPEG")
    return body.getvalue()


class Bucket:
    """A source's bucket on disk, and a workspace that reads from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "served"
        self.log = folder / "gets.log"
        self.workspace = Workspace(folder / "dataset")
        self.workspace.state.mkdir(parents=True)
        self.source = Source("s3://bins")
        for name in ("bin-images", "metadata"):
            (self.folder / "bins" / name).mkdir(parents=True)

    def put(self, photo_id: str, count: int, body: bytes | None = None) -> None:
        record = {"BIN_FCSKU_DATA": {"B": {"asin": "B", "quantity": count}}, "EXPECTED_QUANTITY": count}
        (self.folder / "bins/metadata" / f"{photo_id}.json").write_text(json.dumps(record))
        photo = self.folder / "bins/bin-images" / f"{photo_id}.jpg"
        photo.write_bytes(a_photo(int(photo_id)) if body is None else body)

    def remove(self, kind: str, name: str) -> None:
        (self.folder / "bins" / kind / name).unlink()

    def odd(self, **how: str) -> None:
        """Make the server treat keys, or everything in a folder, oddly: see `odd_server`."""
        (self.folder / ODD).write_text(json.dumps(how))

    def listed(self, **counts: int) -> Chunk:
        rows = {"id": [k.removeprefix("_") for k in counts], "listed_count": list(counts.values())}
        write_listing(self.workspace, pa.table(rows, schema=SCHEMA))
        (chunk,) = split_into_chunks(self.workspace)
        return chunk

    def fetch(self, chunk: Chunk, **options: bool) -> dict[str, str]:
        """Fetch everything; returns each photo's status and reason."""
        fetch_metadata(chunk, self.source, **options)
        tidy(self.workspace)
        self.counts = fetch_photos(chunk, self.source, **options)
        rows = [row for p in range(PARTITIONS) for row in join_partition(self.workspace, p).to_pylist()]
        self.rows = {row["id"]: row for row in rows}
        return {row["id"]: " ".join(filter(None, (row["status"], row["reason"]))) for row in rows}

    def gets(self) -> list[str]:
        """What was fetched since the last time."""
        keys = self.log.read_text().split() if self.log.exists() else []
        self.log.write_text("")
        return sorted(keys)

    def files(self) -> list[str]:
        folder = self.workspace.folder
        found = [path for name in ("train_data", "quarantine") for path in (folder / name).rglob("*")]
        return sorted(str(path.relative_to(folder)) for path in found if path.is_file())


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    served = Bucket(tmp_path)
    with serving_oddly(served.folder, served.log) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        yield served


def test_photos_go_into_the_folder_of_their_count_and_are_fetched_once(bucket: Bucket) -> None:
    bucket.put("00007", 3)
    bucket.put("7", 1)
    chunk = bucket.listed(_00007=3, _7=1)
    assert bucket.fetch(chunk) == {"00007": "ok", "7": "ok"}
    assert bucket.files() == ["train_data/1/7.jpg", "train_data/3/00007.jpg"]
    assert len(bucket.gets()) == 4
    bucket.fetch(chunk)
    assert bucket.gets() == []
    assert (bucket.counts.downloaded, bucket.counts.reused) == (0, 2)


def test_metadata_wins_over_the_list_and_the_disagreement_is_flagged(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.fetch(bucket.listed(_7=3))
    assert bucket.files() == ["train_data/4/7.jpg"]
    assert bucket.rows["7"]["flags"] == ["measure_absent", "list_differs"]


def test_without_metadata_the_list_says_the_count(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.remove("metadata", "7.json")
    assert bucket.fetch(bucket.listed(_7=3)) == {"7": "ok"}
    assert bucket.files() == ["train_data/3/7.jpg"]
    assert bucket.rows["7"]["flags"] == ["metadata_missing"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (a_photo()[:-200], "truncated"),
        (b"<html>no such page</html>", "not_jpeg"),
        (a_photo().replace(b"\x00\x30\x00\x40", b"\xff\xf0\xff\xf0"), "too_large"),
    ],
)
def test_a_bad_photo_is_quarantined_once_and_taken_back_when_it_was_mended(
    bucket: Bucket, body: bytes, reason: str
) -> None:
    bucket.put("7", 4, body)
    chunk = bucket.listed(_7=4)
    assert bucket.fetch(chunk) == {"7": f"corrupt {reason}"}
    assert bucket.files() == [f"quarantine/{reason}/7.jpg"]
    bucket.gets()
    assert bucket.fetch(chunk) == {"7": f"corrupt {reason}"}
    assert bucket.gets() == []
    bucket.put("7", 4)
    assert bucket.fetch(chunk) == {"7": "ok"}
    assert bucket.files() == ["train_data/4/7.jpg"]


def test_an_object_of_an_absurd_size_is_not_read(bucket: Bucket) -> None:
    bucket.put("7", 4, b"\xff\xd8\xff" + bytes(17 * 2**20))
    assert bucket.fetch(bucket.listed(_7=4)) == {"7": "corrupt too_large"}
    assert bucket.files() == []


def test_a_missing_photo_is_asked_for_again(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.remove("bin-images", "7.jpg")
    chunk = bucket.listed(_7=4)
    assert bucket.fetch(chunk) == {"7": "missing"}
    bucket.put("7", 4)
    assert bucket.fetch(chunk) == {"7": "ok"}


def test_a_forbidden_photo_is_counted_and_asked_for_again(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.put("8", 2)
    bucket.odd(**{"bin-images/7.jpg": "forbidden", "metadata/8.json": "forbidden"})
    chunk = bucket.listed(_7=4, _8=3)
    assert bucket.fetch(chunk) == {"7": "missing forbidden", "8": "ok"}
    assert bucket.counts.missing == 1
    assert bucket.rows["8"]["flags"] == ["metadata_forbidden"]
    assert bucket.files() == ["train_data/3/8.jpg"]
    bucket.odd()
    assert bucket.fetch(chunk) == {"7": "ok", "8": "ok"}
    assert bucket.rows["8"]["flags"] == ["measure_absent", "list_differs"]


def test_a_photo_that_is_forbidden_from_now_on_is_kept_but_not_used(bucket: Bucket) -> None:
    bucket.put("7", 4)
    chunk = bucket.listed(_7=4)
    bucket.fetch(chunk)
    bucket.odd(**{"bin-images/7.jpg": "forbidden"})
    assert bucket.fetch(chunk, refresh=True) == {"7": "missing forbidden"}
    assert bucket.files() == ["quarantine/forbidden/7.jpg"]
    bucket.odd()
    assert bucket.fetch(chunk) == {"7": "ok"}
    assert bucket.files() == ["train_data/4/7.jpg"]


def test_a_source_where_everything_is_forbidden_ends_the_run(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.fetch._REFUSED_FIRST", 3)
    for photo_id in "1234":
        bucket.put(photo_id, 1)
    chunk = bucket.listed(_1=1, _2=1, _3=1, _4=1)
    bucket.odd(metadata="forbidden")
    with pytest.raises(SourceError, match="The first 3 objects that were asked for are forbidden"):
        fetch_metadata(chunk, bucket.source)
    bucket.odd(**{"bin-images": "forbidden"})
    with pytest.raises(SourceError, match="The first 3 objects that were asked for are forbidden"):
        bucket.fetch(chunk)
    assert bucket.files() == []
    bucket.odd(**{f"bin-images/{i}.jpg": "forbidden" for i in (2, 3)})
    forbidden = {"2": "missing forbidden", "3": "missing forbidden"}
    assert bucket.fetch(chunk) == {"1": "ok", "4": "ok"} | forbidden
    bucket.odd(**{f"bin-images/{i}.jpg": "forbidden" for i in (2, 3, 5)})
    bucket.put("5", 1)  # only what is forbidden is asked for now
    chunk = bucket.listed(_1=1, _2=1, _3=1, _4=1, _5=1)
    assert bucket.fetch(chunk) == {"1": "ok", "4": "ok", "5": "missing forbidden"} | forbidden
    bucket.odd(**{"bin-images": "forbidden"})
    before = bucket.files()
    with pytest.raises(SourceError, match="are forbidden"):
        bucket.fetch(chunk, refresh=True)
    assert bucket.files() == before  # what is here is not put aside because the source is shut


def test_keys_that_the_source_does_not_know_end_the_run(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.odd(**{"bin-images/7.jpg": "disowned"})
    with pytest.raises(SourceError, match="InvalidAccessKeyId"):
        bucket.fetch(bucket.listed(_7=4))


def test_the_catalog_says_what_a_photo_is(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.put("8", 4, a_photo()[:-200])
    bucket.fetch(bucket.listed(_7=4, _8=4))
    names = ("key", "bytes", "sha256", "width", "height")
    body = a_photo(7)
    said = ["bin-images/7.jpg", len(body), hashlib.sha256(body).hexdigest(), 64, 48]
    assert [bucket.rows["7"][name] for name in names] == said
    assert [bucket.rows["8"][name] for name in names] == ["bin-images/8.jpg", None, None, None, None]


def test_a_photo_that_a_refreshed_source_no_longer_has_is_kept_but_not_used(bucket: Bucket) -> None:
    bucket.put("7", 4)
    chunk = bucket.listed(_7=4)
    bucket.fetch(chunk)
    bucket.remove("bin-images", "7.jpg")
    assert bucket.fetch(chunk) == {"7": "ok"}
    assert bucket.fetch(chunk, refresh=True) == {"7": "missing"}
    assert bucket.files() == ["quarantine/vanished/7.jpg"]


def test_photos_of_the_same_bytes_are_found_and_the_catalog_names_the_first(bucket: Bucket) -> None:
    for photo_id, shade in (("10", 1), ("20", 2), ("30", 1), ("40", 3), ("50", 1)):
        bucket.put(photo_id, 1, a_photo(shade))
    bucket.put("60", 1, b"")
    bucket.put("70", 1, b"")
    bucket.fetch(bucket.listed(**{f"_{n}": 1 for n in range(10, 80, 10)}))
    found = group_photos(bucket.workspace)
    first, *others = [photo_id for photo_id in found.ids if photo_id in ("10", "30", "50")]
    assert found.duplicate_of == dict.fromkeys(others, first)
    split = split_photos(bucket.workspace, found, "grouped", 0)
    assert write_catalog(bucket.workspace, found.groups, found.duplicate_of, split.splits).duplicates == 2
    rows = pq.read_table(bucket.workspace.catalog).to_pylist()
    assert {row["id"]: row["duplicate_of"] for row in rows if row["duplicate_of"]} == found.duplicate_of
    assert len({row["split"] for row in rows if row["id"] in ("10", "30", "50")}) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after the second try, where it would be the sixth."""
    monkeypatch.setattr("tasks.data.fetch.fetch_again.retry.stop", lambda _: True)


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


def test_a_file_that_is_here_but_not_remembered_is_checked_not_fetched(bucket: Bucket) -> None:
    bucket.put("7", 4)
    chunk = bucket.listed(_7=4)
    fetch_metadata(chunk, bucket.source)
    path = bucket.workspace.photo("7", 4)
    path.parent.mkdir(parents=True)
    path.write_bytes(a_photo(7))
    bucket.gets()
    assert bucket.fetch(chunk) == {"7": "ok"}
    assert bucket.gets() == []


@pytest.mark.parametrize("damage", [b"", a_photo()[:-100], a_photo(200)])
def test_a_file_that_was_changed_here_is_fetched_again(bucket: Bucket, damage: bytes) -> None:
    bucket.put("7", 4)
    chunk = bucket.listed(_7=4)
    bucket.fetch(chunk)
    bucket.workspace.photo("7", 4).write_bytes(damage)
    assert bucket.fetch(chunk) == {"7": "ok"}
    assert bucket.workspace.photo("7", 4).read_bytes() == a_photo(7)


def test_refresh_asks_for_changes_and_fetches_nothing_else(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.put("8", 2)
    chunk = bucket.listed(_7=4, _8=2)
    bucket.fetch(chunk)
    bucket.gets()
    bucket.put("8", 2, a_photo(99))
    bucket.fetch(chunk)
    assert bucket.gets() == []
    bucket.fetch(chunk, refresh=True)
    assert bucket.gets() == ["bin-images/8.jpg"]
    assert bucket.workspace.photo("8", 2).read_bytes() == a_photo(99)


def test_nothing_listed_is_written_outside_its_folder(bucket: Bucket) -> None:
    bucket.put("7", 4)
    bucket.fetch(bucket.listed(_7=4))
    assert {path.name for path in bucket.workspace.folder.iterdir()} == {"train_data", "state"}


def test_a_bucket_that_is_not_there_is_no_missing_photo(bucket: Bucket) -> None:
    with pytest.raises(SourceError, match="bucket does not exist"):
        fetch_metadata(bucket.listed(_7=4), Source("s3://elsewhere"))


def test_a_store_out_of_reach_is_worth_another_try(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.fetch.fetch_again.retry.stop", lambda _: True)
    monkeypatch.setattr("tasks.data.fetch._FAILURES_IN_A_ROW", 3)
    chunk = bucket.listed(**{f"_{i}": 1 for i in range(5)})
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(TransferError, match="3 transfers in a row failed"):
        fetch_metadata(chunk, bucket.source)


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
