"""Entries of the record that come after their photo was counted: it is judged by what the model said of it then."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from serving.prediction import Prediction
from tasks.nightly.model import policies_of
from tasks.nightly.night import Night
from tasks.nightly.outcomes import Outcome
from tasks.nightly.photos import NightPhoto
from tasks.nightly.remember import make_rows

LEFT = (
    "{:,} photos of earlier nights have an entry in the record by now, but nobody knows the thresholds of the model "
    "that counted them; `--recount` counts and judges them anew"
)


def judge_late(night: Night) -> set[str]:
    """Judge a night's late photos and write their verdicts; return those whose model's thresholds are known.

    A row keeps the run that counted it, and gets the night that judged it. Doing it again changes nothing.
    """
    rows = night.ledger.latest(photo.photo for photo in night.plan.late)
    by_run: defaultdict[str, list[NightPhoto]] = defaultdict(list)
    for photo in night.plan.late:
        if photo.photo in rows:
            by_run[rows[photo.photo].run].append(photo)
    policies = policies_of(night, by_run)
    judged: set[str] = set()
    for run in sorted(policies):  # runs are named by their time: the photo before is judged before
        outcomes = {photo.photo: _outcome(rows[photo.photo]) for photo in by_run[run]}
        made = make_rows(by_run[run], outcomes, policies[run], night.ledger)
        kept = {"run": run, "night": night.date}
        night.ledger.upsert_counts([row | kept | {"counted_at": rows[row["photo"]].counted_at} for row in made])
        judged |= outcomes.keys()
    return judged


def judged_late(night: Night, rows: Sequence[Any]) -> set[str]:
    """Return the photos among a night's rows that an earlier night counted."""
    nights = night.ledger.nights_of({row.run for row in rows})
    counted = night.counted
    return {
        row.photo
        for row in rows
        if row.photo not in counted and row.run in nights and nights[row.run].night < row.night
    }


def _outcome(row: Any) -> Outcome:
    """What counting came to, as the ledger has it."""
    shares = {int(count): share for count, share in row.probabilities.items()}
    mean = sum(count * share for count, share in shares.items())
    prediction = Prediction(row.count, row.confidence, mean, shares, row.model, row.out_of_range or 0.0)
    return Outcome(status="counted", prediction=prediction)
