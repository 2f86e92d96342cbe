"""Which bin each photo shows, and which photo of it came before."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from tasks.data.bin_groups import bin_groups
from tasks.data.photo_ids import numbering_of
from tasks.ledger.ledger import Ledger
from tasks.nightly.photos import NightPhoto

_NEAR = 2


def name_bins(photos: Sequence[NightPhoto], ledger: Ledger) -> list[NightPhoto]:
    """Give every photo a bin: the record's, or the one that ABID's numbering and products tell, or its own.

    A photo whose neighbours were counted on an earlier night joins their bin.
    """
    by_folder: defaultdict[tuple[str, str], list[NightPhoto]] = defaultdict(list)
    named = {photo.photo: photo.bin or photo.key for photo in photos}
    for photo in photos:
        if not photo.bin and photo.products is not None:
            by_folder[photo.bucket, photo.folder].append(photo)
    for (bucket, folder), members in by_folder.items():
        named |= _name_folder(bucket, folder, members, ledger)
    return [photo.model_copy(update={"bin": named[photo.photo]}) for photo in photos]


def _name_folder(bucket: str, folder: str, members: list[NightPhoto], ledger: Ledger) -> dict[str, str]:
    tonight = {photo.photo_id for photo in members}
    near = {i for photo in members for i in _neighbours(photo.photo_id)} - tonight
    known = {
        row.photo_id: row
        for row in ledger.of_ids(bucket, sorted(near))
        if row.key.startswith(folder) and "/" not in row.key.removeprefix(folder) and row.products is not None
    }
    ids = [photo.photo_id for photo in members] + list(known)
    products = [photo.products for photo in members] + [row.products for row in known.values()]
    groups = bin_groups(ids, products)
    of_ledger = {group: known[i].bin for i, group in zip(ids, groups, strict=True) if i in known}
    return {
        photo.photo: of_ledger.get(group, f"{folder}{group}")
        for photo, group in zip(members, groups[: len(members)], strict=True)
    }


def _neighbours(photo_id: str) -> list[str]:
    numbering = numbering_of(photo_id)
    if numbering is None:
        return []
    width, number = numbering
    near = [number + d for d in range(-_NEAR, _NEAR + 1) if d and number + d >= 0]
    return [str(n).zfill(width) for n in near]


def short_name(row: Any) -> str:
    """Return a row's bin for people: as the record names it, but of a bin that is named by a key the last part."""
    named_by_key = row.bin == row.key or row.products is not None
    return PurePosixPath(row.bin).name if named_by_key else str(row.bin)


def order(photo: Any) -> tuple[Any, ...]:
    """Return what photos of one bin are ordered by, in one of two ways that are not compared with each other.

    By ABID's numbering where that is what told the bin (`name_bins`): there ids are in the order in which photos were
    taken, and all of them were put on S3 at once. Else by time, whatever numbers the files have.
    """
    numbering = numbering_of(photo.photo_id)
    if photo.products is not None and numbering:
        return (0, numbering, photo.key, photo.taken_at)
    return (1, photo.taken_at, photo.key)


def before(photo: Any, others: Sequence[Any]) -> Any | None:
    """Return the last of the other photos of the same bin that came before this one; None if there is none.

    What lay at the photo's own key before is none of them: its bytes are gone.
    """
    earlier = [other for other in others if other.key != photo.key and _is_before(other, photo)]
    return max(earlier, key=order, default=None)


def overtaken(rows: Sequence[Any]) -> set[str]:
    """Return the photos of a night whose bin a newer one of its photos was judged by.

    Who goes to check the bin finds it as the newest photo shows it, and the one before has borne witness there.
    """
    placed = [(row, (row.bucket, row.bin, when[0]), when) for row, when in zip(rows, map(order, rows), strict=True)]
    newest: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row, shown, when in placed:
        if row.score is not None:
            newest[shown] = max(when, newest.get(shown, when))
    return {row.photo for row, shown, when in placed if row.status == "counted" and when < newest.get(shown, when)}


def _is_before(one: Any, other: Any) -> bool:
    first, second = order(one), order(other)
    return first[0] == second[0] and first < second
