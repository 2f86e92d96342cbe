"""What a night has to count, kept in the run's folder so that a killed night goes on with the very same jobs."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.home import write_at_home
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import now
from tasks.nightly.bins import name_bins, order
from tasks.nightly.coverage import RecordRead
from tasks.nightly.outcomes import read_outcomes
from tasks.nightly.parameters import NightParameters
from tasks.nightly.photos import NightPhoto, list_objects
from tasks.nightly.record import record_of, with_known_entries, with_record
from training.picture import MAX_BYTES, SUFFIXES

SMALL_BYTES = 6 * 2**20
"""Photos up to this size go sixteen at a time through a transform job, larger ones four at a time."""

WAITING_DAYS = 14
"""For so long a counted photo waits for its entry in the record."""

_OF_THE_OBJECT = ("photo", "bucket", "key", "etag", "bytes", "taken_at")


class Chunk(BaseModel):
    """Photos that are counted together; a chunk's number is never given twice in a run."""

    model_config = ConfigDict(frozen=True)

    number: int
    large: bool = Field(description="Photos above `SMALL_BYTES`.")
    copied: bool = Field(description="Their keys are no names for a manifest, so that copies of them are counted.")
    photos: list[NightPhoto]


class Plan(BaseModel):
    """Everything a night found, and in which chunks it is counted."""

    began: dt.datetime | None = Field(
        None, description="When the run first looked; None in the plan of a version that did not say so."
    )
    seen: int = 0
    skipped: dict[str, int] = Field(default_factory=dict, description="Objects left alone, by reason.")
    unreadable: dict[str, str] = Field(default_factory=dict, description="Why photos are not even tried, by photo.")
    chunks: list[Chunk] = Field(default_factory=list)
    rejected: list[NightPhoto] = Field(default_factory=list, description="The photos of `unreadable`.")
    late: list[NightPhoto] = Field(
        default_factory=list, description="Counted on an earlier night, and in the record since: to be judged only."
    )
    record: RecordRead | None = Field(None, description="What the last start read; None where there was none.")

    @property
    def photos(self) -> list[NightPhoto]:
        """All photos of the night, those that are not tried included."""
        return [*(photo for chunk in self.chunks for photo in chunk.photos), *self.rejected]


def find(parameters: NightParameters, ledger: Ledger, folder: Path, run: str, night: dt.date) -> Plan:
    """List the prefix and plan what is new; what an earlier start of the same run planned stays as it was.

    Photos that the earlier start gave up on are planned anew, in chunks with numbers, and so jobs, of their own. Those
    that another run has counted meanwhile are left to it.

    Args:
        parameters: of the night.
        ledger: what has been counted.
        folder: of the run; the plan is kept there.
        run: its id.
        night: its date.
    """
    earlier = _not_overtaken(read_plan(folder), ledger, run)
    began = earlier.began or now()
    chunks = [_without_given_up(chunk, folder) for chunk in earlier.chunks]
    kept = {photo.photo for chunk in chunks for photo in chunk.photos} | set(earlier.unreadable)
    fresh, skipped, seen = _new(
        parameters,
        lambda photos: ledger.counted_since(photos, began, run) if parameters.recount else ledger.current(photos),
        kept,
    )
    ours = {photo.key for photo in (*earlier.photos, *fresh)}
    waiting = [photo for photo in _waiting(parameters, ledger, night) if photo.key not in ours]
    found, record = with_record([*fresh, *waiting], parameters)
    late = [photo for photo in found[len(fresh) :] if photo.expected is not None]
    named = name_bins([*with_known_entries(found[: len(fresh)], ledger), *late], ledger)
    fresh, late = named[: len(fresh)], named[len(fresh) :]
    unreadable = {photo.photo: reason for photo in fresh if (reason := _hopeless(photo))}
    countable = [photo for photo in fresh if photo.photo not in unreadable]
    first = max((chunk.number for chunk in earlier.chunks), default=0) + 1
    plan = Plan(
        began=began,
        seen=seen,
        skipped=skipped,
        unreadable=earlier.unreadable | unreadable,
        rejected=[*earlier.rejected, *(photo for photo in fresh if photo.photo in unreadable)],
        chunks=[*chunks, *_chunks(countable, parameters.photos_per_job, first)],
        late=list({photo.photo: photo for photo in (*earlier.late, *late)}.values()),
        record=record,
    )
    write_at_home(folder / "plan.json", plan.model_dump_json())
    return plan


def _not_overtaken(plan: Plan, ledger: Ledger, run: str) -> Plan:
    """Return a plan without what other runs did while the run that made it was dead: what they said is newer.

    Whatever the run itself has written stays planned, with the entry of the record that it got since, if it had none.
    """
    if plan.began is None:
        return plan
    others = ledger.counted_since((photo.photo for photo in (*plan.photos, *plan.late)), plan.began, run)

    def left(photos: Sequence[NightPhoto]) -> list[NightPhoto]:
        return [photo for photo in photos if photo.photo not in others]

    late = left(plan.late)
    rows = ledger.latest(photo.photo for photo in late)
    return plan.model_copy(
        update={
            "chunks": [
                chunk.model_copy(update={"photos": with_known_entries(left(chunk.photos), ledger)})
                for chunk in plan.chunks
            ],
            "rejected": left(plan.rejected),
            "unreadable": {photo: why for photo, why in plan.unreadable.items() if photo not in others},
            "late": [photo for photo in late if not _is_judged_otherwise(photo, rows.get(photo.photo))],
        }
    )


def _is_judged_otherwise(late: NightPhoto, row: Any | None) -> bool:
    """Whether a photo that waited has got another entry since; that changes neither its row's run nor its moment."""
    return row is not None and row.expected is not None and (row.expected, row.bin) != (late.expected, late.bin)


def _without_given_up(chunk: Chunk, folder: Path) -> Chunk:
    outcomes = read_outcomes(folder, chunk.number) or {}
    given_up = {photo for photo, outcome in outcomes.items() if outcome.status == "uncounted"}
    return chunk.model_copy(update={"photos": [photo for photo in chunk.photos if photo.photo not in given_up]})


def read_plan(folder: Path) -> Plan:
    """Return what the run of a folder has planned so far."""
    path = folder / "plan.json"
    return Plan.model_validate_json(path.read_bytes()) if path.exists() else Plan()


def _new(
    parameters: NightParameters, counted: Callable[[Iterable[str]], set[str]], kept: set[str]
) -> tuple[list[NightPhoto], dict[str, int], int]:
    """Return photos that are neither counted nor planned, what was skipped by reason, and how many were seen.

    A photo that was put back after another one lay in its place is new: what is said of that key is of the other one.
    """
    skipped: Counter[str] = Counter()
    photos = []
    seen = 0
    for item in list_objects(parameters.prefix):
        seen += 1
        if not item.key.lower().endswith(SUFFIXES):
            skipped["not a photo by its name"] += 1
        elif "\0" in item.key:  # which PostgreSQL does not take
            skipped["a NUL in its key"] += 1
        elif not _in_range(item.taken_at.date(), parameters):
            skipped["outside the dates"] += 1
        else:
            photos.append(item)
    known = counted(photo.photo for photo in photos) - kept
    new = [photo for photo in photos if photo.photo not in known and photo.photo not in kept]
    if known:
        skipped["counted before"] = len(known)
    if parameters.limit is not None and len(new) > (room := max(0, parameters.limit - len(kept))):
        skipped["beyond the limit"] = len(new) - room
        new = sorted(new, key=lambda photo: (photo.taken_at, photo.key))[:room]
    return new, dict(skipped), seen


def _waiting(parameters: NightParameters, ledger: Ledger, night: dt.date) -> list[NightPhoto]:
    """Photos under the prefix that the last nights counted without a usable quantity in the record."""
    if parameters.recount or record_of(parameters) is None:
        return []
    bucket, _, folder = parameters.prefix.removeprefix("s3://").partition("/")
    rows = ledger.without_quantity(bucket, folder, night - dt.timedelta(days=WAITING_DAYS))
    return [
        NightPhoto.model_validate({name: getattr(row, name) for name in _OF_THE_OBJECT})
        for row in rows
        if _in_range(row.taken_at.date(), parameters)
    ]


def _in_range(day: dt.date, parameters: NightParameters) -> bool:
    return (parameters.since is None or day >= parameters.since) and (
        parameters.until is None or day <= parameters.until
    )


def _hopeless(photo: NightPhoto) -> str | None:
    if photo.bytes == 0:
        return "the object is empty"
    if photo.bytes > MAX_BYTES:
        return f"it has {photo.bytes:,} bytes; at most {MAX_BYTES:,} are read"
    return None


def _chunks(photos: Sequence[NightPhoto], size: int, first: int) -> list[Chunk]:
    kinds: dict[tuple[bool, bool], list[NightPhoto]] = {}
    for photo in sorted(photos, key=lambda photo: (photo.bin, order(photo))):
        kinds.setdefault((photo.bytes > SMALL_BYTES, not photo.is_plain), []).append(photo)
    found: list[Chunk] = []
    for (large, copied), members in sorted(kinds.items()):
        for start in range(0, len(members), size):
            some = members[start : start + size]
            found.append(Chunk(number=first + len(found), large=large, copied=copied, photos=some))
    return found
