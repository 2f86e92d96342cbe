"""File lists in the course's format: ``{"1": ["data/metadata/100313.json", ...], ..., "5": [...]}``."""

import errno
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import obstore
import pyarrow as pa

from tasks.atomic_file import write_atomically
from tasks.data.fetch import transfer_errors
from tasks.data.photo_ids import id_of_entry
from tasks.object_store import open_store, split_uri
from training.errors import FileListError, TransferError

SCHEMA = pa.schema({"id": pa.string(), "listed_count": pa.int32()})
"""A list as a table; ``listed_count`` is null where the list doesn't say."""

_MOST_BYTES = 128 * 2**20
_LARGEST_COUNT = 9_999


def read_file_list(location: str, *, endpoint: str | None = None, region: str | None = None) -> pa.Table:
    """Read and check the file list at a path, an https URL or an S3 URI.

    Args:
        location: Where it is.
        endpoint: Where the bucket of an S3 URI is, if elsewhere than S3 in general.
        region: That bucket's, if it is another than ours.

    Returns:
        One row per photo, as in ``SCHEMA``, in the list's order.

    Raises:
        FileListError: it cannot be read, isn't a file list, is empty, or lists something twice.
        TransferError: it could not be fetched this time.
    """
    return parse_file_list(_read(location, endpoint, region), location)


def parse_file_list(content: bytes, where: str) -> pa.Table:
    """Check a file list's ``content``; ``where`` names it in messages. See ``read_file_list``."""
    try:
        classes = json.loads(content, object_pairs_hook=lambda pairs: _classes(pairs, where))
    except (ValueError, RecursionError) as error:
        raise FileListError(f"{where} is not JSON ({error}). A file list looks like {_EXAMPLE}.") from error
    if not isinstance(classes, dict):
        raise FileListError(f"{where} holds {type(classes).__name__}, not classes. It looks like {_EXAMPLE}.")
    ids: list[str] = []
    counts: list[int] = []
    for name, entries in classes.items():
        count = _count(name, where)
        if not isinstance(entries, list):
            raise FileListError(f'{where}: class "{name}" holds {type(entries).__name__}, not a list of entries.')
        for entry in entries:
            ids.append(_id(entry, name, where))
            counts.append(count)
    if not ids:
        raise FileListError(f"{where} lists no photos. A file list looks like {_EXAMPLE}.")
    _refuse_duplicates(ids, counts, where)
    return pa.table({"id": ids, "listed_count": counts}, schema=SCHEMA)


def write_file_list(rows: Iterable[tuple[str, int]], path: Path) -> None:
    """Write (id, count) pairs as a file list."""
    classes: dict[str, list[str]] = {}
    for photo_id, count in sorted(rows, key=lambda row: (row[1], row[0])):
        classes.setdefault(str(count), []).append(f"data/metadata/{photo_id}.json")
    write_atomically(path.expanduser(), json.dumps(classes))


def check_place(path: Path) -> None:
    """Make sure that a file list can be written to ``path``; its folder is made.

    Raises:
        FileListError: it cannot.
    """
    place = path.expanduser()
    try:
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        place.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place.parent).close()
    except OSError as error:
        raise FileListError(f"No file list can be written to {path}: {error.strerror}. Name another file.") from error


_EXAMPLE = '{"1": ["data/metadata/100313.json", ...], "2": [...]}'


def _classes(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    classes = dict(pairs)
    if len(classes) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise FileListError(f'{where} has "{twice[:200]}" more than once. Put all entries of a class into one list.')
    return classes


def _count(name: str, where: str) -> int:
    digits = name.isascii() and name.isdigit() and len(name) <= len(str(_LARGEST_COUNT))
    if not digits or int(name) > _LARGEST_COUNT or str(int(name)) != name:
        raise FileListError(f'{where}: "{name[:200]}" is not a class. Classes are counts: "0", "1", "2", ...')
    return int(name)


def _id(entry: Any, name: str, where: str) -> str:
    if not isinstance(entry, str):
        raise FileListError(
            f'{where}: class "{name}" lists {entry!r}. Entries are strings: "00523" and "523" are different bins.'
        )
    photo_id = id_of_entry(entry)
    if photo_id is None:
        raise FileListError(
            f'{where}: class "{name}" lists {entry[:200]!r}, which names no photo. An entry looks like '
            '"data/metadata/100313.json"; an id has letters, digits, ".", "_" and "-" only.'
        )
    return photo_id


def _refuse_duplicates(ids: list[str], counts: list[int], where: str) -> None:
    if len(set(ids)) == len(ids):
        return
    classes: dict[str, list[int]] = {}
    for photo_id, count in zip(ids, counts, strict=True):
        classes.setdefault(photo_id, []).append(count)
    twice = {photo_id: listed for photo_id, listed in classes.items() if len(listed) > 1}
    across = {photo_id: listed for photo_id, listed in twice.items() if len(set(listed)) > 1}
    shown = ", ".join(
        f"{photo_id} ({' and '.join(map(str, listed))})" for photo_id, listed in list((across or twice).items())[:5]
    )
    if across:
        raise FileListError(
            f"{where} lists {len(across)} ids in more than one class: {shown}. Keep each id in the class of its count."
        )
    raise FileListError(f"{where} lists {len(twice)} ids more than once: {shown}. Keep each id once.")


def _read(location: str, endpoint: str | None, region: str | None) -> bytes:
    if location.startswith("s3://"):
        return _read_s3(location, endpoint, region)
    if location.startswith("https://"):
        return _read_https(location)
    if "://" in location:
        raise FileListError(f"{location}: a file list is a path, an https:// URL or an s3:// URI.")
    path = Path(location).expanduser()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FileListError(f"{location} is larger than {_MOST_BYTES >> 20} MB: that is no file list.")
        return path.read_bytes()
    except OSError as error:
        raise FileListError(f"The file list {location} cannot be read: {error.strerror}.") from error


def _read_s3(location: str, endpoint: str | None, region: str | None) -> bytes:
    bucket, key = split_uri(location)
    try:
        with transfer_errors(location):
            found = obstore.get(open_store(f"s3://{bucket}", endpoint=endpoint, region=region), key)
            if found.meta["size"] > _MOST_BYTES:
                raise FileListError(f"{location} is larger than {_MOST_BYTES >> 20} MB: that is no file list.")
            return bytes(found.bytes())
    except FileNotFoundError as error:
        raise FileListError(
            f"There is no file list at {location}. Name one with --file-list, or take everything with --all."
        ) from error


def _read_https(location: str) -> bytes:
    def refuse_plain(request: httpx.Request) -> None:
        if request.url.scheme != "https":
            raise FileListError(
                f"{location} leads to {request.url.scheme}://{request.url.netloc.decode()}, which is not https."
            )

    content = bytearray()
    try:
        with (
            httpx.Client(timeout=30, follow_redirects=True, event_hooks={"request": [refuse_plain]}) as client,
            client.stream("GET", location) as response,
        ):
            response.raise_for_status()
            for piece in response.iter_bytes():
                content += piece
                if len(content) > _MOST_BYTES:
                    raise FileListError(f"{location} is larger than {_MOST_BYTES >> 20} MB: that is no file list.")
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        kind = TransferError if status >= 500 or status == 429 else FileListError
        raise kind(f"{location} answers {status}, not a file list.") from error
    except httpx.TransportError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise FileListError(
                f"{location}: the server's certificate is not trusted ({error}). If you trust it, name a file with "
                "its certificate, or its authority's, in SSL_CERT_FILE."
            ) from error
        raise TransferError(f"{location} cannot be reached: {error}.") from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise FileListError(f"No file list can be read at {location}: {error}.") from error
    return bytes(content)
