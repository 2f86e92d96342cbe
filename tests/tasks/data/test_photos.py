"""Fetching a chunk: what is fetched, what isn't, and what becomes of the bad ones."""

import hashlib

import pyarrow.parquet as pq
import pytest

from tasks.data.catalog import write_catalog
from tasks.data.grouping import group_photos, split_photos
from tasks.data.metadata_stage import fetch_metadata
from tests.tasks.data.photo_bucket import Bucket, a_photo
from training.errors import SourceError


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


def test_a_photo_that_became_too_large_is_put_aside_and_stays_so(bucket: Bucket) -> None:
    bucket.put("7", 4)
    chunk = bucket.listed(_7=4)
    bucket.fetch(chunk)
    bucket.put("7", 4, b"\xff\xd8\xff" + bytes(17 * 2**20))
    for refresh in (True, False, True):
        assert bucket.fetch(chunk, refresh=refresh) == {"7": "corrupt too_large"}
        assert bucket.files() == ["quarantine/too_large/7.jpg"]
    bucket.put("7", 4)
    assert bucket.fetch(chunk) == {"7": "ok"}
    assert bucket.files() == ["train_data/4/7.jpg"]


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
