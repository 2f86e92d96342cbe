"""What the inventory record expects in each bin: ABID's metadata, or a snapshot as CSV or Parquet."""

import asyncio
import dataclasses
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.data.bin_metadata import read_record
from tasks.data.fetch import Reader, TooLargeError, for_each, transfer_errors
from tasks.nightly.parameters import NightParameters, record_kind
from tasks.nightly.photos import NightPhoto, read_object, s3_client
from tasks.object_store import open_store, split_uri
from training.errors import DataError, ForbiddenObjectError, TransferError

PHOTO_COLUMNS = ("key", "photo", "id")
QUANTITY_COLUMNS = ("expected", "expected_quantity", "quantity")
LARGEST_QUANTITY = 9_999
NO_ENTRY = "the record has no entry for it"
NOT_OURS = "its metadata may not be read, or is not there and S3 does not say so"


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the record says about one photo."""

    expected: int | None
    problem: str | None = None
    bin: str | None = None
    products: list[str] | None = None


def with_record(photos: Sequence[NightPhoto], parameters: NightParameters) -> list[NightPhoto]:
    """Put expected quantities, bins and products beside the photos.

    Raises:
        DataError: the record cannot be read, or lacks the columns that it needs.
    """
    record = parameters.record or _beside(parameters.prefix)
    if record is None:
        entries: Mapping[str, Entry] = {}
        none = Entry(None, "no record was given")
    else:
        kind, none = record_kind(record), Entry(None, NO_ENTRY)
        entries = _metadata(record, photos) if kind == "metadata" else _snapshot(record, photos)
    found = []
    for photo in photos:
        entry = entries.get(photo.photo, none)
        found.append(
            photo.model_copy(
                update={
                    "expected": entry.expected,
                    "record_problem": entry.problem,
                    "bin": entry.bin or "",
                    "products": entry.products,
                }
            )
        )
    return found


def _beside(prefix: str) -> str | None:
    """ABID's layout: photos in ``bin-images/``, their metadata in ``metadata/`` beside it."""
    head, name, _ = prefix.rpartition("bin-images")
    return f"{head}metadata" if name else None


def _metadata(uri: str, photos: Sequence[NightPhoto]) -> dict[str, Entry]:
    """Fetch ``<id>.json`` of every photo; photos without one are absent."""
    reader = Reader(open_store(uri), trusted=True)  # a night goes on however much is forbidden
    plain = [photo for photo in photos if photo.is_plain]
    entries = _metadata_of_odd_keys(uri, [photo for photo in photos if not photo.is_plain])

    async def read(photo: NightPhoto) -> bool:
        try:
            found = await reader.fetch(f"{photo.photo_id}.json")
        except FileNotFoundError:
            return True
        except ForbiddenObjectError:
            entries[photo.photo] = Entry(None, NOT_OURS)
            return True
        except TooLargeError as error:
            entries[photo.photo] = Entry(None, f"its metadata is too large: {error}")
            return True
        entries[photo.photo] = _from_metadata(read_record(photo.photo_id, found.body, found.etag))
        return True

    asyncio.run(_all(plain, read))
    return entries


def _metadata_of_odd_keys(uri: str, photos: Sequence[NightPhoto]) -> dict[str, Entry]:
    """The same for keys that obstore refuses, with a line end in them for one."""
    bucket, prefix = split_uri(uri)
    client, entries = s3_client(), {}
    for photo in photos:
        try:
            body = read_object(client, bucket, f"{prefix}/{photo.photo_id}.json".lstrip("/"))
        except FileNotFoundError:
            continue
        except ForbiddenObjectError:
            entries[photo.photo] = Entry(None, NOT_OURS)
            continue
        entries[photo.photo] = _from_metadata(read_record(photo.photo_id, body, ""))
    return entries


async def _all(photos: Sequence[NightPhoto], read: Any) -> None:
    if await for_each(photos, read):
        raise TransferError("some metadata could not be fetched")


def _from_metadata(row: Mapping[str, Any]) -> Entry:
    problems = {
        "not_json": "its metadata is not JSON",
        "not_a_record": "its metadata is not a record",
        "no_expected_quantity": "its metadata has no EXPECTED_QUANTITY that is a whole number from 0",
    }
    problem = next((text for flag, text in problems.items() if flag in row["flags"]), None)
    readable = not {"not_json", "not_a_record"} & set(row["flags"])
    products = sorted({sku["asin"] for sku in row["skus"]}) if readable else None
    return Entry(row["count"], problem, None, products)


def _snapshot(source: str, photos: Sequence[NightPhoto]) -> dict[str, Entry]:
    table = _read_table(source)
    names = {name.lower(): name for name in table.column_names}
    _refuse_doubles(source, table.column_names)
    photo_column = next((names[name] for name in PHOTO_COLUMNS if name in names), None)
    quantity_column = next((names[name] for name in QUANTITY_COLUMNS if name in names), None)
    if photo_column is None or quantity_column is None:
        raise DataError(
            f"{source} has the columns {', '.join(table.column_names)}; the record needs one of "
            f"{', '.join(PHOTO_COLUMNS)} (a photo's S3 key, or its file name without .jpg) and one of "
            f"{', '.join(QUANTITY_COLUMNS)}; bin is optional"
        )
    bins = table[names["bin"]].to_pylist() if "bin" in names else [None] * table.num_rows
    wanted = {photo.key: photo.photo for photo in photos}
    by_id: dict[str, list[str]] = {}
    for photo in photos:
        by_id.setdefault(photo.photo_id, []).append(photo.photo)
    entries: dict[str, Entry] = {}
    rows = zip(table[photo_column].to_pylist(), table[quantity_column].to_pylist(), bins, strict=True)
    for number, (name, quantity, bin_name) in enumerate(rows, 1):
        meant = [wanted[str(name)]] if str(name) in wanted else by_id.get(str(name), [])
        for digest in meant:
            entry = _from_row(quantity, bin_name, number)
            earlier = entries.get(digest)
            if earlier is not None and earlier.expected != entry.expected:
                entry = Entry(None, f"the record contradicts itself: another row than row {number} expects otherwise")
            entries[digest] = entry
    return entries


def _refuse_doubles(source: str, columns: Sequence[str]) -> None:
    """Which of two columns of one name is meant, nobody knows."""
    often = Counter(name.lower() for name in columns)
    if doubles := [name for name in (*PHOTO_COLUMNS, *QUANTITY_COLUMNS, "bin") if often[name] > 1]:
        raise DataError(
            f"{source} has more than one column {doubles[0]!r} (capitals do not count): rename or remove one"
        )


def _from_row(quantity: Any, bin_name: Any, number: int) -> Entry:
    where = str(bin_name).strip() or None if bin_name is not None else None
    try:
        value = float(str(quantity).replace("_", "?"))  # Python's own 1_000 is no number of an inventory record
        if value.is_integer() and 0 <= value <= LARGEST_QUANTITY:
            return Entry(int(value), None, where)
    except (ValueError, OverflowError):
        pass
    return Entry(None, f"row {number} expects {str(quantity)[:40]!r}, which is no whole number from 0", where)


def _read_table(source: str) -> pa.Table:
    content = _read(source)
    try:
        if record_kind(source) == "parquet":
            return pq.read_table(io.BytesIO(content))
        head = pyarrow.csv.open_csv(io.BytesIO(content)).schema.names
        texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(head, pa.string()))  # 00523 is not 523
        lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
        return pyarrow.csv.read_csv(io.BytesIO(content), convert_options=texts, parse_options=lines)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise DataError(f"the record {source} cannot be read: {error}") from error


def _read(source: str) -> bytes:
    try:
        if not source.startswith("s3://"):
            return Path(source).read_bytes()
        bucket, key = split_uri(source)
        with transfer_errors(source):
            return bytes(obstore.get(open_store(f"s3://{bucket}"), key).bytes())
    except OSError as error:
        raise DataError(f"the record {source} cannot be read: {error.strerror or error}") from error
