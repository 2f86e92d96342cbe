"""What the inventory record expects in each bin: ABID's metadata, or a snapshot as CSV or Parquet."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.data.bin_metadata import read_record
from tasks.data.fetch import Reader, TooLargeError, for_each
from tasks.ledger.ledger import Ledger
from tasks.nightly.coverage import RecordRead
from tasks.nightly.entry import NO_ENTRY, NO_RECORD, NOT_OURS, Entry, lacks_entry
from tasks.nightly.parameters import NightParameters, record_kind
from tasks.nightly.photos import NightPhoto, read_object, s3_client
from tasks.nightly.snapshot import read_snapshot
from tasks.object_store import check_bucket, open_store, split_uri
from training.errors import ForbiddenObjectError, TransferError

_OF_THE_RECORD = ("expected", "record_problem", "bin", "products")


def with_record(
    photos: Sequence[NightPhoto], parameters: NightParameters
) -> tuple[list[NightPhoto], RecordRead | None]:
    """Put expected quantities, bins and products beside the photos; return them, and the record if there is one.

    Raises:
        DataError: the record cannot be read, or lacks the columns that it needs.
    """
    source = record_of(parameters)
    if source is None:
        return [_with(photo, Entry(None, NO_RECORD)) for photo in photos], None
    if record_kind(source) == "metadata":
        entries, example = _metadata(source, photos), None
    else:
        entries, example = read_snapshot(source, photos)
    found = [_with(photo, entries.get(photo.photo, Entry(None, NO_ENTRY))) for photo in photos]
    return found, RecordRead(source=source, given=parameters.record is not None, example=example)


def with_known_entries(photos: Sequence[NightPhoto], ledger: Ledger) -> list[NightPhoto]:
    """Put what the ledger has of the record beside photos that tonight's record has no entry for.

    A photo that is counted again would else lose the entry that it was judged by, for good.
    """
    known = ledger.latest(photo.photo for photo in photos if lacks_entry(photo))
    return [
        photo.model_copy(update={name: getattr(known[photo.photo], name) for name in _OF_THE_RECORD} | {"known": True})
        if photo.photo in known and not lacks_entry(known[photo.photo])
        else photo
        for photo in photos
    ]


def record_of(parameters: NightParameters) -> str | None:
    """Return where a night's record is; None where it has none."""
    return parameters.record or _beside(parameters.prefix)


def _with(photo: NightPhoto, entry: Entry) -> NightPhoto:
    said = {"expected": entry.expected, "record_problem": entry.problem, "products": entry.products}
    return photo.model_copy(update=said | {"bin": entry.bin or ""})


def _beside(prefix: str) -> str | None:
    """ABID's layout: photos in a folder ``bin-images/``, or below it, and their metadata in ``metadata/`` beside it."""
    bucket, _, path = prefix.removeprefix("s3://").partition("/")
    folders = path.split("/")
    if "bin-images" not in folders:
        return None
    above = folders[: len(folders) - 1 - folders[::-1].index("bin-images")]
    return "/".join(("s3:/", bucket, *above, "metadata"))


def _metadata(uri: str, photos: Sequence[NightPhoto]) -> dict[str, Entry]:
    """Fetch ``<id>.json`` of every photo; photos without one are absent."""
    own = split_uri(uri)[0] in {photo.bucket for photo in photos}
    region = check_bucket(uri) if own else None  # the photos' bucket may be in another region
    reader = Reader(open_store(uri, region=region), trusted=True)  # a night goes on however much is forbidden
    plain = [photo for photo in photos if photo.has_plain_key]
    entries = _metadata_of_odd_keys(uri, [photo for photo in photos if not photo.has_plain_key])

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
