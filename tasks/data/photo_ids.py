"""Photo ids: always strings, in one of two numberings, and never trusted."""

import re
import zlib

PARTITIONS = 64
"""Parts into which a dataset's ids fall, by their checksum; the same for every list, however it grows."""

_MOST_DIGITS = 18
"""So many fit into 64 bits."""

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_ENTRY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*([A-Za-z0-9_-][A-Za-z0-9._-]*?)(?:\.json|\.jpe?g)?")


def is_photo_id(text: str) -> bool:
    """Whether ``text`` can be an id: letters, digits, ``.``, ``_``, ``-``, not starting with a dot."""
    return _ID.fullmatch(text) is not None


def id_of_entry(entry: str) -> str | None:
    """Return the id that a file list's entry names (``data/metadata/00523.json``), or None if it names none."""
    match = _ENTRY.fullmatch(entry)
    return match.group(1) if match and is_photo_id(match.group(1)) else None


def partition_of(photo_id: str) -> int:
    """Return the partition of an id, 0 to ``PARTITIONS`` - 1."""
    return zlib.crc32(photo_id.encode()) % PARTITIONS


def numbering_of(photo_id: str) -> tuple[int, int] | None:
    """Return an id's numbering (its padded width, 0 for unpadded) and its number; None if it is none.

    ABID has two numberings, one padded to five digits and one not: ``00523`` and ``523`` are different bins,
    and only photos of the same numbering are neighbours.
    """
    if not (photo_id.isascii() and photo_id.isdigit() and len(photo_id) <= _MOST_DIGITS):
        return None
    width = len(photo_id) if photo_id[0] == "0" and len(photo_id) > 1 else 0
    return width, int(photo_id)
