"""From outcomes to rows of the ledger: every photo judged, with the photo before it as a second witness."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.ledger.ledger import Ledger
from tasks.ledger.models import now
from tasks.nightly.bins import before
from tasks.nightly.judge import Judgement, Policy, Sighting, judge
from tasks.nightly.outcomes import Outcome
from tasks.nightly.photos import NightPhoto
from tasks.review.queue import with_answers


def remember(
    photos: Sequence[NightPhoto],
    outcomes: Mapping[str, Outcome],
    policy: Policy,
    ledger: Ledger,
    run: str,
    night: dt.date,
) -> int:
    """Judge what was counted and write it, all or none; return how many rows changed."""
    rows = make_rows(photos, outcomes, policy, ledger)
    bookkeeping = {"run": run, "night": night, "counted_at": now()}
    return ledger.upsert_counts([row | bookkeeping for row in rows])


def make_rows(
    photos: Sequence[NightPhoto], outcomes: Mapping[str, Outcome], policy: Policy, ledger: Ledger
) -> list[dict[str, Any]]:
    """Return the ledger's rows of all photos that were counted or are unreadable, in the order of their keys."""
    ours = {photo.photo: photo for photo in photos}
    earlier = _earlier(photos, ledger)
    # Where people found that the record was wrong, it is corrected by now: the error is not to be held against it.
    settled_otherwise = {item.row.photo for item in with_answers(ledger, earlier) if item.contradicts_the_record}
    by_bin: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for photo in photos:
        if outcomes[photo.photo].status == "counted":
            by_bin[photo.bucket, photo.bin].append(photo)
    for row in earlier:
        if row.photo not in ours:
            by_bin[row.bucket, row.bin].append(row)
    rows = []
    for photo in sorted(photos, key=lambda photo: (photo.bucket, photo.key, photo.photo)):
        outcome = outcomes[photo.photo]
        if outcome.status == "uncounted":
            continue
        last = before(photo, by_bin[photo.bucket, photo.bin])
        bears_witness = last is not None and last.photo not in settled_otherwise
        seen_before = _sighting(last, outcomes) if bears_witness else None
        here = _sighting(photo, outcomes)
        judged = judge(here, policy, [seen_before] if seen_before else []) if outcome.prediction else None
        rows.append(_row(photo, outcome, judged, last.photo if last is not None else None))
    return rows


def _earlier(photos: Sequence[NightPhoto], ledger: Ledger) -> list[Any]:
    """The ledger's photos that may be the one before; of one that several models counted, the newest row.

    Bins that ABID's numbers tell have few photos. Those that the record names get one every night, and of each of their
    photos the last before it is asked for.
    """
    numbered: defaultdict[str, set[str]] = defaultdict(set)
    named: defaultdict[str, list[NightPhoto]] = defaultdict(list)
    for photo in photos:
        if photo.products is not None:
            numbered[photo.bucket].add(photo.bin)
        else:
            named[photo.bucket].append(photo)
    newest: dict[str, Any] = {}
    for bucket in sorted({*numbered, *named}):
        for row in (*ledger.of_bins(bucket, sorted(numbered[bucket])), *ledger.taken_before(bucket, named[bucket])):
            if row.photo not in newest or row.counted_at >= newest[row.photo].counted_at:
                newest[row.photo] = row
    return list(newest.values())


def _sighting(photo: Any, outcomes: Mapping[str, Outcome]) -> Sighting | None:
    """A photo as evidence; None where the record has no quantity for it, or it was not counted."""
    if photo.expected is None:
        return None
    if photo.photo in outcomes:
        prediction = outcomes[photo.photo].prediction
        return Sighting(photo.expected, prediction.probabilities, prediction.out_of_range) if prediction else None
    if not photo.probabilities:
        return None
    shares = {int(count): share for count, share in photo.probabilities.items()}
    return Sighting(photo.expected, shares, photo.out_of_range or 0.0)


def _row(photo: NightPhoto, outcome: Outcome, judged: Judgement | None, last: str | None) -> dict[str, Any]:
    prediction = outcome.prediction
    shares = {str(count): round(share, 6) for count, share in prediction.probabilities.items()} if prediction else None
    return {
        "photo": photo.photo,
        "model": prediction.model if prediction else "",
        "bucket": photo.bucket,
        "key": photo.key,
        "etag": photo.etag,
        "bytes": photo.bytes,
        "photo_id": photo.photo_id,
        "bin": photo.bin,
        "taken_at": photo.taken_at,
        "products": photo.products,
        "expected": photo.expected,
        "record_problem": photo.record_problem,
        "status": outcome.status,
        "reason": outcome.reason,
        "count": prediction.count if prediction else None,
        "confidence": round(prediction.confidence, 6) if prediction else None,
        "out_of_range": round(prediction.out_of_range, 6) if prediction else None,
        "probabilities": shares,
        "verdict": judged.verdict if judged else None,
        "verdict_reason": judged.reason if judged else None,
        "mismatch": judged.mismatch if judged else None,
        "size": judged.size if judged else None,
        "score": judged.score if judged else None,
        "before": last,
    }
