"""Does a bin hold what the record says? The posterior of the record being off, given what the model saw.

A model that is right half of the time cannot overrule a record that is right nineteen times of twenty by its count
alone. So the two are weighed: the record is off by ``d`` objects with a prior probability (the record's error rate,
spread over small offsets), and each photo speaks for ``d`` by its likelihood ratio, which is the calibrated
probability of the count ``expected + d`` over that count's share in training. By Bayes' rule::

    P(d | photos)  is proportional to  P(d) * product over photos of  p(expected + d | photo) / share(expected + d)

A model that learned counts beyond its range says how probable it is that the count is one of those. All of them are
one more possibility: ``p(beyond | photo) / share(beyond)`` speaks for every count above the range alike. So a record of
seven is contradicted by a photo that shows two, and a record of three by one that shows a full bin; but nothing
confirms that a bin above the range holds what the record says. An empty bin is in the same output as a full one: a
photo in range contradicts a record of none, but no photo contradicts another record by showing none.

An earlier photo of the same bin, with the quantity that the record had then, is a second witness to the same ``d``:
the record knows of every pick and stow between the two, so what it gets wrong stays wrong. The two photos are of one
scene and err alike, so the earlier one's evidence is weighed down.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["match", "mismatch", "uncertain"]
_FLOOR = 1e-6
FAR = 3
"""Objects from which on errors of the record are alike: as rare as each other, and counted as that many."""


class Policy(BaseModel):
    """What verdicts are given by. The defaults hold until thresholds are chosen on validation (`choose_policy`).

    With calibrated probabilities the default mismatch threshold gives a precision of at least that number by itself.
    """

    model_config = ConfigDict(frozen=True)

    record_error_rate: float = Field(0.05, gt=0, lt=1, description="Share of bins whose record is believed to be off.")
    mismatch_from: float = Field(0.3, ge=0, le=1, description="P(mismatch) from which a bin is called a mismatch.")
    match_below: float = Field(0.05, ge=0, le=1, description="P(mismatch) below which a bin is called a match.")
    abstain_from: float = Field(
        0.5, ge=0, le=1, description="Probability of a count beyond the model's range from which it abstains."
    )
    earlier_weight: float = Field(0.5, ge=0, le=1, description="Weight of the evidence of an earlier photo.")
    class_shares: dict[int, float] = Field(
        default_factory=dict, description="Share of each count among those in range, in training; empty: all alike."
    )
    beyond_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the counts beyond the model's range in its training; 0: it learned none, and what may be "
        "beyond is abstained from.",
    )
    target_precision: float | None = Field(None, description="Precision that mismatch_from was chosen for.")
    precision: float | None = Field(None, description="Precision that was measured with it on validation.")
    recall: float | None = Field(None, description="Share of the planted errors that it found on validation.")
    chosen_on: str = Field("default", description="Where the thresholds come from.")


@dataclasses.dataclass(frozen=True)
class Sighting:
    """One photo of a bin.

    Attributes:
        expected: quantity in the record when the photo was taken.
        probabilities: of each count in the model's range, given that it is in range; they sum to one.
        out_of_range: probability that the count is beyond the range.
    """

    expected: int
    probabilities: dict[int, float]
    out_of_range: float = 0.0


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What is thought of one bin.

    Attributes:
        verdict: match, mismatch, or uncertain.
        reason: why it is uncertain, else None.
        mismatch: probability that the record is off, 0-1; None where nothing can be said.
        size: objects by which it is off, if it is off.
        score: mismatch times size: what checking this bin is worth; exceptions are ranked by it.
    """

    verdict: Verdict
    reason: str | None = None
    mismatch: float | None = None
    size: float | None = None
    score: float | None = None


def judge(now: Sighting | None, policy: Policy, earlier: Sequence[Sighting] = ()) -> Judgement:
    """Judge a bin by tonight's photo and earlier ones of the same bin.

    Args:
        now: tonight's photo; None where the record has no usable quantity for it.
        policy: thresholds and priors.
        earlier: other photos of the bin, with what the record said then.
    """
    if now is None:
        return Judgement("uncertain", "the record has no quantity")
    beyond = now.expected not in now.probabilities
    if beyond and not policy.beyond_share:
        return Judgement("uncertain", f"the record's {now.expected} is beyond {_range(now)}")
    offsets = posterior(now, policy, earlier)
    mismatch = 1 - offsets[0]
    size = sum(min(abs(d), FAR) * p for d, p in offsets.items()) / mismatch if mismatch > 0 else 0.0
    measured = (round(mismatch, 6), round(size, 6), round(mismatch * size, 6))
    seems_beyond = now.out_of_range >= policy.abstain_from
    if mismatch >= policy.mismatch_from and (policy.beyond_share or not seems_beyond):
        return Judgement("mismatch", None, *measured)
    if seems_beyond and not beyond:
        return Judgement("uncertain", "it looks like more, or fewer, than the model can count", *measured)
    if beyond:
        reason = f"the record's {now.expected} is beyond {_range(now)}, and little speaks against it"
        return Judgement("uncertain", reason, *(measured if mismatch >= policy.match_below else ()))
    if mismatch < policy.match_below:
        return Judgement("match", None, *measured)
    return Judgement("uncertain", "the photo does not tell", *measured)


def _range(sighting: Sighting) -> str:
    return f"the model's {min(sighting.probabilities)}-{max(sighting.probabilities)}"


def posterior(now: Sighting, policy: Policy, earlier: Sequence[Sighting] = ()) -> dict[int, float]:
    """Return the probability of each offset of the record, 0 first; they sum to one."""
    # An offset of one is likelier than of two: picks and stows go wrong by single objects.
    counts, above = set(now.probabilities), max(now.probabilities) + 1
    if policy.beyond_share:
        counts |= {above, *range(max(above, now.expected - FAR), now.expected + FAR + 1)}
    offsets = (count - now.expected for count in sorted(counts))
    weights = {d: 1 / min(abs(d), FAR) for d in offsets if d}
    total = sum(weights.values())
    log = {0: math.log(1 - policy.record_error_rate)}
    log |= {d: math.log(policy.record_error_rate * w / total) for d, w in weights.items()}
    for sighting, weight in ((now, 1.0), *((s, policy.earlier_weight) for s in earlier)):
        for d in log:
            log[d] += weight * _evidence(sighting, sighting.expected + d, policy)
    highest = max(log.values())
    shares = {d: math.exp(value - highest) for d, value in log.items()}
    return {d: share / sum(shares.values()) for d, share in shares.items()}


def _evidence(sighting: Sighting, count: int, policy: Policy) -> float:
    """Log-likelihood ratio of a count: 0 where the photo says nothing about it."""
    classes, beyond = sighting.probabilities, policy.beyond_share
    if beyond and count not in classes:
        return math.log(max(sighting.out_of_range / beyond if count >= 0 else 0.0, _FLOOR))
    if count not in classes or (sighting.expected not in classes and not beyond):
        return 0.0
    share = policy.class_shares.get(count, 0.0) if policy.class_shares else 1 / len(classes)
    likelihood = max(classes[count], _FLOOR) / max(share, 1 / (10 * len(classes)))
    inside = max(1 - sighting.out_of_range, _FLOOR) / (1 - beyond) if beyond else 1.0
    return math.log(likelihood * inside)
