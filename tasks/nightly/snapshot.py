"""A snapshot of the inventory record: a CSV or Parquet file with a row for each photo."""

import codecs
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, unquote_plus

import obstore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.data.fetch import transfer_errors
from tasks.nightly.entry import Entry
from tasks.nightly.parameters import record_kind
from tasks.nightly.photos import NightPhoto
from tasks.object_store import open_store, split_uri
from training.errors import DataError, TransferError
from training.picture import SUFFIXES

PHOTO_COLUMNS = ("key", "photo", "id")
QUANTITY_COLUMNS = ("expected", "expected_quantity", "quantity")
LARGEST_QUANTITY = 9_999
NO_BIN = frozenset({"", "null", "none", "n/a", "na", "-", "\\n"})
"""What exports write where no bin is known, in small letters; the last is MySQL's and PostgreSQL's."""


def read_snapshot(source: str, photos: Sequence[NightPhoto]) -> tuple[dict[str, Entry], str | None]:
    """Return the entries of photos, by photo, and how the first row names one; None where there are no rows.

    Raises:
        DataError: the file cannot be read, or lacks the columns that it needs.
        TransferError: S3 failed in a way that may pass.
    """
    named = _by_name(photos)
    entries: dict[str, Entry] = {}
    example: str | None = None
    for number, (name, quantity, bin_name) in enumerate(_rows(source), 1):
        example = example or name
        for photo in _meant(name, named):
            entry = _entry(quantity, bin_name, number)
            entries[photo] = _together(entries[photo], entry, number) if photo in entries else entry
    return entries, example


def _by_name(photos: Sequence[NightPhoto]) -> dict[str, list[str]]:
    """The photos that each name means. A name that is one photo's key and another's id means the first."""
    names: dict[str, list[str]] = {}
    for name_of in (_key, _uri, _id, _file):
        found: defaultdict[str, list[str]] = defaultdict(list)
        for photo in photos:
            found[name_of(photo)].append(photo.photo)
        names = found | names
    return names


def _key(photo: NightPhoto) -> str:
    return photo.key


def _uri(photo: NightPhoto) -> str:
    return f"s3://{photo.bucket}/{photo.key}"


def _id(photo: NightPhoto) -> str:
    return photo.photo_id


def _file(photo: NightPhoto) -> str:
    return PurePosixPath(photo.key).name


def _meant(name: str, photos: Mapping[str, list[str]]) -> list[str]:
    """The photos that a row means: those of the name as it stands, and only where there are none, of what it may be.

    S3 Inventory writes keys as they are in URLs. Zeros that a spreadsheet lost are not put back: 523 and 00523 are two.
    """
    if name in photos:
        return photos[name]
    is_file = "/" not in name and name.lower().endswith(SUFFIXES)
    others = (name.strip(), unquote_plus(name), unquote(name), *([PurePosixPath(name).stem] if is_file else ()))
    return next((photos[other] for other in others if other in photos), [])


def _entry(quantity: Any, bin_name: Any, number: int) -> Entry:
    named = str(bin_name).replace("\0", "").strip()  # PostgreSQL takes no NUL in a text
    where = named if named.lower() not in NO_BIN else None
    try:
        value = float(str(quantity).replace("_", "?"))  # Python's own 1_000 is no number of an inventory record
        if value.is_integer() and 0 <= value <= LARGEST_QUANTITY:
            return Entry(int(value), None, where)
    except (ValueError, OverflowError):
        pass
    return Entry(None, f"row {number} expects {str(quantity)[:40]!r}, which is no whole number from 0", where)


def _together(earlier: Entry, entry: Entry, number: int) -> Entry:
    """What rows about one photo say; a problem stays one, whatever other rows say."""
    if earlier.expected is None:
        return earlier
    if earlier.expected != entry.expected:
        return Entry(None, f"the record contradicts itself: another row than row {number} expects otherwise")
    if earlier.bin and entry.bin and earlier.bin != entry.bin:
        return Entry(None, f"the record contradicts itself: another row than row {number} names another bin")
    return entry if entry.bin else earlier


def _rows(source: str) -> Iterator[tuple[str, Any, Any]]:
    """Name of the photo, quantity and bin of every row, as they stand."""
    table = _read_table(source)
    _refuse_doubles(source, table.column_names)
    columns = {_plain(name): name for name in table.column_names}
    photo = next((columns[name] for name in PHOTO_COLUMNS if name in columns), None)
    quantity = next((columns[name] for name in QUANTITY_COLUMNS if name in columns), None)
    if photo is None or quantity is None:
        raise DataError(
            f"{source} has the columns {', '.join(table.column_names)}; the record needs one of "
            f"{', '.join(PHOTO_COLUMNS)} (a photo's S3 key, or the name of its file) and one of "
            f"{', '.join(QUANTITY_COLUMNS)}; bin is optional"
        )
    names = map(str, table[photo].to_pylist())
    bins = table[columns["bin"]].to_pylist() if "bin" in columns else [None] * table.num_rows
    return zip(names, table[quantity].to_pylist(), bins, strict=True)


def _plain(column: str) -> str:
    return column.strip().lower()


def _refuse_doubles(source: str, columns: Sequence[str]) -> None:
    """Which of two columns of one name is meant, nobody knows."""
    often = Counter(map(_plain, columns))
    if doubles := [name for name in (*PHOTO_COLUMNS, *QUANTITY_COLUMNS, "bin") if often[name] > 1]:
        raise DataError(
            f"{source} has more than one column {doubles[0]!r} (capitals do not count): rename or remove one"
        )


def _read_table(source: str) -> pa.Table:
    content = _read(source)
    try:
        if record_kind(source) == "parquet":
            return pq.read_table(io.BytesIO(content))
        content = _as_utf8(source, content)
        lines = pyarrow.csv.ParseOptions(delimiter=_delimiter(content), newlines_in_values=True)
        head = pyarrow.csv.open_csv(io.BytesIO(content), parse_options=lines).schema.names
        texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(head, pa.string()))  # 00523 is not 523
        return pyarrow.csv.read_csv(io.BytesIO(content), convert_options=texts, parse_options=lines)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise DataError(f"the record {source} cannot be read: {error}") from error


def _as_utf8(source: str, content: bytes) -> bytes:
    """A CSV in UTF-8 without a mark: Excel marks its own, and its "Unicode text" is UTF-16, which its mark tells."""
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return content.decode("utf-16" if content.startswith(marks) else "utf-8-sig").encode()
    except UnicodeDecodeError as error:
        line, found = content.count(b"\n", 0, error.start) + 1, error.object[error.start : error.end]
        raise DataError(
            f"the record {source} is not encoded as {error.encoding.upper()}: line {line} has {found!r}. Save it as "
            'UTF-8, which Excel calls "CSV UTF-8"; its plain "CSV" is Latin-1 or the like'
        ) from error


def _delimiter(content: bytes) -> str:
    """What stands between columns: where the decimal mark is a comma, Excel writes semicolons."""
    head = io.BytesIO(content).readline()
    return next((each for each in (",", ";", "\t") if each.encode() in head), ",")


def _read(source: str) -> bytes:
    try:
        if not source.startswith("s3://"):
            return Path(source).read_bytes()
        bucket, key = split_uri(source)
        with transfer_errors(source):
            return bytes(obstore.get(open_store(f"s3://{bucket}"), key).bytes())
    except TransferError:  # an OSError too, but one that may pass: the task tries again
        raise
    except OSError as error:
        raise DataError(f"the record {source} cannot be read: {error.strerror or error}") from error
