"""A night in numbers, and how it differs from the last ones."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

OUT_OF_RANGE = "other"
LEAST_PHOTOS = 100
LEAST_NIGHTS = 3
PSI_ALARM = 0.2
"""Population stability index from which a shift counts as significant: the usual rule of thumb in credit scoring."""

CONFIDENCE_ALARM = 0.05


class Drift(BaseModel):
    """How tonight's counts differ from those of the last nights."""

    model_config = ConfigDict(frozen=True)

    nights: int = Field(description="Nights compared with.")
    psi: float | None = Field(None, description="Population stability index of the count mix.")
    confidence_change: float | None = Field(None, description="Mean confidence, tonight's less the last nights'.")
    alarms: list[str] = Field(default_factory=list, description="What a person should know, in words.")
    usual_mix: dict[str, float] = Field(default_factory=dict)


class NightTotals(BaseModel):
    """What became of everything that was under the prefix."""

    model_config = ConfigDict(frozen=True)

    seen: int = Field(description="Objects under the prefix.")
    new: int = Field(description="Photos that this run set out to count.")
    counted: int = Field(description="Of those, photos with a count.")
    unreadable: int
    uncounted: int = Field(description="Given up for now; the next run tries them again.")
    skipped: dict[str, int]
    match: int
    mismatch: int
    uncertain: int
    overtaken: int = Field(
        0, description="Counted, and judged as part of their bin: a newer photo of it came in the same night."
    )
    without_record: int = Field(description="Counted, but the record has no usable quantity.")
    recount: bool = Field(False, description="Counted again on purpose: no night is compared with this one.")
    judged_late: int = Field(
        0, description="Counted on an earlier night, and judged since: among match to uncertain, and not in `counted`."
    )


def count_mix(rows: Sequence[Any], abstain_from: float) -> dict[str, float]:
    """Return the share of each count among counted photos; those out of range are one class."""
    tally = Counter(
        OUT_OF_RANGE if (row.out_of_range or 0) >= abstain_from else str(row.count)
        for row in rows
        if row.status == "counted"
    )
    return {count: number / tally.total() for count, number in sorted(tally.items())}


def mean_confidence(rows: Sequence[Any]) -> float | None:
    """Return the mean confidence of counted photos; None where there are none."""
    found = [row.confidence for row in rows if row.status == "counted"]
    return sum(found) / len(found) if found else None


def measure_drift(mix: Mapping[str, float], confidence: float | None, counted: int, last: Sequence[Any]) -> Drift:
    """Compare a night with the last ones.

    A small night differs by chance alone: the index that chance gives, about (classes - 1) times the sum of both
    sides' 1/n, is added to the alarm's limit, and nothing is said of fewer than 100 photos or three nights.

    Args:
        mix: tonight's share of each count.
        confidence: tonight's mean.
        counted: tonight's photos.
        last: rows of `Night` of the same model, newest first.
    """
    last = [night for night in last if night.totals.get("counted")]
    total = sum(night.totals["counted"] for night in last)
    if counted < LEAST_PHOTOS or len(last) < LEAST_NIGHTS or total < LEAST_PHOTOS or confidence is None:
        return Drift(nights=len(last))
    classes = {*mix, *(count for night in last for count in night.mix)}
    usual = {c: sum(n.mix.get(c, 0) * n.totals["counted"] for n in last) / total for c in sorted(classes)}
    psi = sum(_psi(mix.get(c, 0), usual[c]) for c in classes)
    before = sum(night.confidence * night.totals["counted"] for night in last) / total
    change = confidence - before
    alarms = []
    if psi > PSI_ALARM + (len(classes) - 1) * (1 / counted + 1 / total):
        most = max(classes, key=lambda c: abs(mix.get(c, 0) - usual[c]))
        alarms.append(
            f"the counts are distributed otherwise than in the last {len(last)} nights (index {psi:.2f}); most of all, "
            f"{mix.get(most, 0):.0%} of the bins are counted as {most}, usually {usual[most]:.0%}"
        )
    if abs(change) > CONFIDENCE_ALARM + 2 * math.sqrt(0.06 / counted):
        alarms.append(
            f"the model is {'surer' if change > 0 else 'less sure'} than usual: {confidence:.0%}, not {before:.0%}"
        )
    return Drift(nights=len(last), psi=psi, confidence_change=change, alarms=alarms, usual_mix=usual)


def _psi(here: float, there: float) -> float:
    here, there = max(here, 1e-3), max(there, 1e-3)
    return (here - there) * math.log(here / there)
