"""Thresholds for verdicts, chosen on validation photos with errors planted in their record."""

import dataclasses
import random
from collections.abc import Sequence

from tasks.nightly.judge import Policy, Sighting, judge
from training.errors import DataError

ROUNDS = 20
PLANTED = (-3, -2, -1, 1, 2, 3)
LEAST_FLAGGED = 20
Photo = tuple[int, dict[int, float], float]
"""True count, probabilities by count, and probability of being out of range."""


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A judged bin whose truth is known.

    Attributes:
        score: what it is ranked by.
        mismatch: probability of mismatch.
        off_by: by how many objects its record really is off.
        can_match: whether it could be called a match: record and photo are not beyond the model's range.
    """

    score: float
    mismatch: float
    off_by: int
    can_match: bool = True


def plant_errors(
    counts: Sequence[int], rate: float, seed: int, classes: Sequence[int] = (), bins: Sequence[str] = ()
) -> list[int]:
    """Return a record of these true counts in which a share is wrong by 1-3 objects, never below zero.

    ``round(rate * n)`` of n bins are wrong, so that figures of two seeds compare, less those whose photos' counts leave
    no room for it. What is wrong about a bin is the same in all of its photos' entries, as a record that is off stays
    off from one pick to the next.

    Args:
        counts: what the photos show.
        rate: share of bins to make wrong.
        seed: of the choice.
        classes: what a wrong entry may say; empty: anything.
        bins: that the photos show; empty: each its own.
    """
    rng = random.Random(seed)  # noqa: S311 - planted errors are no secret
    record = list(counts)
    members: dict[int | str, list[int]] = {}
    names: Sequence[int | str] = bins or range(len(counts))
    for position, name in enumerate(names):
        members.setdefault(name, []).append(position)
    for positions in rng.sample([*members.values()], round(rate * len(members))):
        said = {d: [counts[position] + d for position in positions] for d in PLANTED}
        choices = [d for d in PLANTED if all(count in classes if classes else count >= 0 for count in said[d])]
        if choices:
            by = rng.choice(choices)
            for position in positions:
                record[position] += by
    return record


def choose_policy(
    photos: Sequence[Photo],
    target_precision: float = 0.3,
    record_error_rate: float = 0.05,
    seed: int = 0,
) -> Policy:
    """Choose verdict thresholds on photos that the model has not learned from.

    Errors are planted in their record twenty times over, so that every photo is judged with right and wrong records.
    Photos whose count is beyond the range are among them where the model has learned such; else they are left out.
    ``mismatch_from`` becomes the lowest threshold at which at least ``target_precision`` of the flagged bins are
    really wrong; ``match_below`` the highest below which at most a quarter of the usual share is.

    Args:
        photos: of the validation split.
        target_precision: share of the flagged that shall really be wrong.
        record_error_rate: share of the record that is believed to be wrong.
        seed: of the planted errors.

    Raises:
        DataError: there are fewer than 100 photos in range.
    """
    classes = tuple(photos[0][1]) if photos else ()
    inside = [photo for photo in photos if photo[0] in classes]
    if len(inside) < 100:
        raise DataError(f"{len(inside)} validation photos in the model's range are too few to choose thresholds on")
    means = {count: sum(photo[1][count] for photo in inside) / len(inside) for count in classes}
    beyond_share = sum(photo[2] for photo in photos) / len(photos) if _knows_more(photos, classes) else 0.0
    policy = Policy(
        record_error_rate=record_error_rate,
        class_shares=means,
        beyond_share=beyond_share,
        target_precision=target_precision,
    )
    found, said = judgeable(photos, policy)
    judged: list[Ranked] = []
    for turn in range(ROUNDS):
        judged += rank(found, plant_errors([photo[0] for photo in found], record_error_rate, seed + turn, said), policy)
    mismatch_from, precision, recall = _mismatch_from(judged, target_precision, policy)
    return policy.model_copy(
        update={
            "mismatch_from": mismatch_from,
            "match_below": min(_match_below(judged, record_error_rate / 4), mismatch_from),
            "precision": precision,
            "recall": recall,
            "chosen_on": f"{len(found)} validation photos, {ROUNDS} times {record_error_rate:.0%} planted errors",
        }
    )


def _knows_more(photos: Sequence[Photo], classes: tuple[int, ...]) -> bool:
    """Whether the model tells photos of more objects than it counts from others: only then does it speak of such."""
    above = [photo[2] for photo in photos if photo[0] > max(classes)]
    inside = [photo[2] for photo in photos if photo[0] in classes]
    return bool(above) and sum(above) / len(above) > 1.1 * sum(inside) / len(inside)


def judgeable(photos: Sequence[Photo], policy: Policy) -> tuple[Sequence[Photo], tuple[int, ...]]:
    """Return the photos that the policy ever judges, and what the record of them may say; empty: anything."""
    if policy.beyond_share:
        return photos, ()
    return [photo for photo in photos if photo[0] in photo[1]], tuple(photos[0][1]) if photos else ()


def rank(photos: Sequence[Photo], record: Sequence[int], policy: Policy) -> list[Ranked]:
    """Judge photos whose truth is known against a record, best bets first; those that nothing ranks come last."""
    found = []
    for (count, probabilities, outside), expected in zip(photos, record, strict=True):
        judged = judge(Sighting(expected, probabilities, outside), policy)
        can_match = expected in probabilities and outside < policy.abstain_from
        found.append(Ranked(judged.score or 0.0, judged.mismatch or 0.0, abs(count - expected), can_match))
    return sorted(found, key=lambda photo: -photo.score)


def precision_at(ranked: Sequence[Ranked], n: int) -> float:
    """Share of really wrong records among the first ``n``."""
    first = ranked[:n]
    return sum(photo.off_by > 0 for photo in first) / len(first) if first else 0.0


def _mismatch_from(judged: Sequence[Ranked], target: float, policy: Policy) -> tuple[float, float, float]:
    """Return the lowest threshold that reaches the target, with precision and recall at it.

    Where none does, the strictest that still flags something is taken: its precision says what it is worth.
    """
    # `judge` calls no photo a mismatch that looks beyond the range of a model that learned nothing there.
    flaggable = (photo for photo in judged if policy.beyond_share or photo.can_match)
    ordered = sorted(flaggable, key=lambda photo: -photo.mismatch)
    wrong_in_all = sum(photo.off_by > 0 for photo in judged) or 1
    best: tuple[float, float, float] | None = None
    strictest: tuple[float, float, float] | None = None
    wrong = 0
    for number, photo in enumerate(ordered, 1):
        wrong += photo.off_by > 0
        last_of_ties = number == len(ordered) or ordered[number].mismatch < photo.mismatch
        if number < LEAST_FLAGGED or not last_of_ties:
            continue
        here = (photo.mismatch, wrong / number, wrong / wrong_in_all)
        strictest = strictest or here
        if wrong / number >= target:
            best = here
    return best or strictest or (1.0, 0.0, 0.0)


def _match_below(judged: Sequence[Ranked], most_wrong: float) -> float:
    ordered = sorted((photo for photo in judged if photo.can_match), key=lambda photo: photo.mismatch)
    wrong, threshold = 0, 0.0
    for number, photo in enumerate(ordered, 1):
        wrong += photo.off_by > 0
        if number >= LEAST_FLAGGED and wrong / number <= most_wrong:
            threshold = photo.mismatch
    return threshold
