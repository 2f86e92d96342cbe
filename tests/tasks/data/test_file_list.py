"""File lists: what is read, and what is refused and how."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from tasks.data.file_list import parse_file_list, read_file_list, write_file_list
from tasks.object_store import ensure_bucket, open_store
from tests.tasks.data.https_server import https_server
from training.errors import FileListError, TransferError


def parse(content: Any) -> list[tuple[str, int]]:
    table = parse_file_list(json.dumps(content).encode(), "list.json")
    return list(zip(table["id"].to_pylist(), table["listed_count"].to_pylist(), strict=True))


def test_ids_stay_strings_and_both_numberings_stay_apart() -> None:
    listed = parse({"1": ["data/metadata/523.json", "data/metadata/00523.json"], "4": ["100313.jpg", "bin-7.b"]})
    assert listed == [("523", 1), ("00523", 1), ("100313", 4), ("bin-7.b", 4)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not json at all", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'["00523"]', "holds list, not classes"),
        (b'{"1": "00523"}', "not a list of entries"),
        (b'{"many": ["00523"]}', '"many" is not a class'),
        (b'{"-1": ["00523"]}', '"-1" is not a class'),
        (b'{"01": ["00523"]}', '"01" is not a class'),
        (b'{"10000": ["00523"]}', '"10000" is not a class'),
        (b'{"%s": ["00523"]}' % (b"9" * 5000), r'"9{200}" is not a class'),
        (b'{"1": ["a", "b"], "2": [], "1": ["c"]}', 'has "1" more than once'),
        (b'{"1": [523]}', "Entries are strings"),
        (b'{"1": ["../../etc/passwd"]}', "names no photo"),
        (b'{"1": ["/etc/passwd"]}', "names no photo"),
        (b'{"1": ["a b"]}', "names no photo"),
        (b'{"1": [".."]}', "names no photo"),
        (b'{"1": [""]}', "names no photo"),
        (b'{"1": ["a\\u0000"]}', "names no photo"),
        (b"{}", "lists no photos"),
        (b'{"1": [], "2": []}', "lists no photos"),
        (b'{"1": ["7.json", "data/metadata/7.json"]}', "lists 1 ids more than once: 7"),
        (b'{"1": ["7"], "2": ["7", "8"]}', r"in more than one class: 7 \(1 and 2\)"),
    ],
)
def test_a_bad_list_is_refused_with_its_own_reason(content: bytes, says: str) -> None:
    with pytest.raises(FileListError, match=says):
        parse_file_list(content, "list.json")


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileListError, match=r"nowhere\.json cannot be read: No such file"):
        read_file_list(str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize("location", ["http://example.org/list.json", "ftp://example.org/list.json"])
def test_only_safe_places_are_read(location: str) -> None:
    with pytest.raises(FileListError, match="a path, an https:// URL or an s3:// URI"):
        read_file_list(location)


@pytest.mark.usefixtures("s3")
def test_a_list_on_s3_is_read_and_a_missing_one_is_named() -> None:
    ensure_bucket("s3://lists")
    obstore.put(open_store("s3://lists"), "a.json", b'{"2": ["00007"]}')
    assert read_file_list("s3://lists/a.json")["id"].to_pylist() == ["00007"]
    with pytest.raises(FileListError, match=r"There is no file list at s3://lists/b\.json"):
        read_file_list("s3://lists/b.json")


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    write_file_list([("00523", 2), ("523", 1)], tmp_path / "list.json")
    table = read_file_list(str(tmp_path / "list.json"))
    assert sorted(zip(table["id"].to_pylist(), table["listed_count"].to_pylist(), strict=True)) == [
        ("00523", 2),
        ("523", 1),
    ]


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A live https server with a certificate of its own; its address, and the certificate."""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {
        "/list.json": (200, {}, b'{"2": ["00007"], "3": ["7"]}'),
        "/moved.json": (302, {"Location": "/list.json"}, b""),
        "/downgraded.json": (302, {"Location": "http://127.0.0.1:9/list.json"}, b""),
        "/round.json": (302, {"Location": "/round.json"}, b""),
        "/garbled.json": (200, {"Content-Encoding": "gzip"}, b"no gzip"),
        "/busy.json": (503, {}, b""),
        "/page.html": (200, {}, b"<html>log in first</html>"),
    }
    with https_server(answers, tmp_path_factory.mktemp("https")) as (address, certificate):
        yield address, certificate


def test_a_list_is_read_over_https(https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, certificate = https
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name in ("list", "moved"):
        assert read_file_list(f"{address}/{name}.json")["id"].to_pylist() == ["00007", "7"]


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("gone.json", FileListError, r"gone\.json answers 404, not a file list"),
        ("page.html", FileListError, r"page\.html is not JSON"),
        ("busy.json", TransferError, r"busy\.json answers 503"),
        ("downgraded.json", FileListError, "leads to http://127.0.0.1:9, which is not https"),
    ],
)
def test_what_https_answers_instead_of_a_list_is_said(
    https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], says: str
) -> None:
    address, certificate = https
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(error, match=says):
        read_file_list(f"{address}/{name}")


@pytest.mark.parametrize(("name", "says"), [("round", "redirects"), ("garbled", "decompress"), ("port:x", "port")])
def test_a_redirect_loop_is_one_line(
    https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    address, certificate = https
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    location = f"{address}/{name}.json" if name != "port:x" else "https://example.org:x/list.json"
    with pytest.raises(FileListError, match=f"No file list can be read at {location}: .*{says}"):
        read_file_list(location)


def test_a_server_that_nobody_vouches_for_is_not_believed(
    https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(FileListError, match=r"certificate is not trusted .* SSL_CERT_FILE"):
        read_file_list(f"{https[0]}/list.json")


def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    with pytest.raises(TransferError, match="cannot be reached"):
        read_file_list("https://127.0.0.1:9/list.json")


def test_a_page_without_end_is_not_read_to_it(https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.file_list._MOST_BYTES", 10)
    monkeypatch.setenv("SSL_CERT_FILE", str(https[1]))
    with pytest.raises(FileListError, match="that is no file list"):
        read_file_list(f"{https[0]}/list.json")
