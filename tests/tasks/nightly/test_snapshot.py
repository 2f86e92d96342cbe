"""Records as warehouses write them: which photos their rows mean, and what the rows say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.nightly.entry import Entry
from tasks.nightly.photos import NightPhoto
from tasks.nightly.snapshot import read_snapshot
from tests.ledgers import MOMENT

Read = Callable[..., dict[str, Entry]]


def photo(key: str) -> NightPhoto:
    return NightPhoto(photo=key, bucket="bins", key=key, etag="e", bytes=9, taken_at=MOMENT)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a CSV for photos of these keys."""

    def one(content: str | bytes, *keys: str) -> dict[str, Entry]:
        path = tmp_path / "record.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_snapshot(str(path), [photo(key) for key in keys])[0]

    return one


KEYS = ("new/00523.jpg", "new/523.jpg", "new/a shelf.jpeg", "new/a+b.png", "new/50%25.jpg")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("new/00523.jpg", KEYS[0]),
        ("s3://bins/new/00523.jpg", KEYS[0]),
        ("00523", KEYS[0]),
        ("00523.jpg", KEYS[0]),
        ("00523.JPG", KEYS[0]),
        ("523.jpeg", KEYS[1]),
        (" 523", KEYS[1]),
        ("new/a%20shelf.jpeg", KEYS[2]),
        ("new/a+shelf.jpeg", KEYS[2]),
        ("s3://bins/new/a%20shelf.jpeg", KEYS[2]),
        ("new/a+b.png", KEYS[3]),
        ("new/a%2Bb.png", KEYS[3]),
        ("new/50%25.jpg", KEYS[4]),  # as it stands, though a URL would mean 50%
        ("0523", None),
        ("s3://others/new/00523.jpg", None),
        ("old/00523.jpg", None),
    ],
)
def test_a_row_names_a_photo_by_key_uri_file_or_id(read: Read, name: str, key: str | None) -> None:
    assert read(f"key,expected\n{name},2\n", *KEYS) == ({key: Entry(2)} if key else {})


def test_a_file_s_name_means_that_file_and_an_id_all_of_its_name(read: Read) -> None:
    assert read("id,expected\n7.jpg,2\n", "new/7.jpg", "new/7.png") == {"new/7.jpg": Entry(2)}
    both = read("id,expected\n7,2\n", "new/7.jpg", "new/7.png")
    assert both == {"new/7.jpg": Entry(2), "new/7.png": Entry(2)}
