"""Records as warehouses write them: which photos their rows mean, and what the rows say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.nightly.entry import Entry
from tasks.nightly.photos import NightPhoto
from tasks.nightly.snapshot import read_snapshot
from tasks.transient import is_transient
from tests.ledgers import MOMENT
from training.errors import DataError, TransferError

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


@pytest.mark.parametrize(
    "content",
    [
        b"key;expected;bin\n00523;2;A,1\n",
        b"key\texpected\tbin\n00523\t2\tA,1\n",
        b'bin, key , Expected\n"A,1",00523, 2\n',
        b'\xef\xbb\xbfkey,expected,bin\r\n00523,2,"A,1"\r\n',
        "key\texpected\tbin\r\n00523\t2\tA,1\r\n".encode("utf-16"),
        b"\xfe\xff" + "key;expected;bin\n00523;2;A,1\n".encode("utf-16-be"),
    ],
    ids=["semicolons", "tabs", "spaces in the header", "UTF-8 with a mark", "Unicode text", "UTF-16, big end first"],
)
def test_csv_as_spreadsheets_write_it(read: Read, content: bytes) -> None:
    assert read(content, "new/00523.jpg") == {"new/00523.jpg": Entry(2, None, "A,1")}


def test_a_semicolon_in_a_header_with_commas_parts_nothing(read: Read) -> None:
    assert read('key,expected,"a;b"\n1,2,x;y\n', "1.jpg") == {"1.jpg": Entry(2)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "key,expected,bin\n1,2,A\n2,3,Gänge\n".encode("latin-1"),
            r"not encoded as UTF-8: line 3 has .* Save it as UTF-8",
        ),
        ("key,expected\n1,2\n".encode("utf-16")[:-1], "not encoded as UTF-16"),
        (b"", "cannot be read: Empty CSV file"),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(read: Read, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(content, "1.jpg")


def test_a_record_that_s3_does_not_give_for_now_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(TransferError, match=r"s3://bins/record\.csv") as failed:
        read_snapshot("s3://bins/record.csv", [photo("1.jpg")])
    assert is_transient(failed.value)  # by which the task that finds photos tries again


@pytest.mark.parametrize("name", ["", "  ", "NULL", "null", "N/A", "na", "None", "-", r"\N"])
def test_a_placeholder_is_no_bin(read: Read, name: str) -> None:
    assert read(f"key,expected,bin\n1,2,{name}\n", "1.jpg") == {"1.jpg": Entry(2)}


def test_a_nul_is_no_part_of_a_bin_s_name(read: Read) -> None:
    assert read("key,expected,bin\n1,2,A\0-1\n2,2,\0\n", "1.jpg", "2.jpg") == {
        "1.jpg": Entry(2, None, "A-1"),
        "2.jpg": Entry(2),
    }


def test_a_bin_may_be_called_nearly_as_a_placeholder(read: Read) -> None:
    assert read("key,expected,bin\n1,2,NA-1\n", "1.jpg") == {"1.jpg": Entry(2, None, "NA-1")}


@pytest.mark.parametrize(
    ("rows", "entry"),
    [
        ("1,2,A\n1,2,A\n", Entry(2, None, "A")),
        ("1,2,A\n1.jpg,2,\n", Entry(2, None, "A")),
        ("1,2,NULL\n1,2,A\n", Entry(2, None, "A")),
        ("1,2,A\n1,3,A\n", "row 2 expects otherwise"),
        ("1,2,A\n1,2,B\n", "row 2 names another bin"),
        ("1,2,A\n1,2,B\n1,2,B\n", "row 2 names another bin"),
        ("1,2,A\n1,two,A\n", "row 2 expects otherwise"),
        ("1,2,A\ns3://bins/1.jpg,2,B\n", "row 2 names another bin"),
    ],
)
def test_rows_about_one_photo_agree_or_are_a_problem(read: Read, rows: str, entry: Entry | str) -> None:
    [found] = read(f"key,expected,bin\n{rows}", "1.jpg").values()
    if isinstance(entry, Entry):
        assert found == entry
    else:
        assert (found.expected, found.bin) == (None, None)
        assert entry in str(found.problem)
