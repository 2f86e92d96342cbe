"""Which flagged photos still need a person, who is at which, and what they answered.

A photo is settled when two of its witnesses agree, at least one of them a person: the record, the model, and every
reviewer. So a first reviewer who confirms either settles it; one who contradicts both calls in a second. Where three
reviewers all differ, nobody is asked again.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from tasks.ledger.database import writing
from tasks.ledger.leases import acquire, held, release
from tasks.ledger.ledger import Ledger, newest
from tasks.ledger.models import Answer, Count, now
from training.errors import ReviewError

ANSWERS = (*map(str, range(10)), "more", "unclear")
"""What can be answered: a count, ten or more, or that the photo does not tell."""

MOST_REVIEWERS = 3
CLAIM_SECONDS = 600.0
_CLAIM = "review/"


@dataclasses.dataclass(frozen=True)
class Flagged:
    """A flagged photo with its active answers, oldest first, as pairs of reviewer and answer."""

    row: Any
    answers: tuple[tuple[str, str], ...]

    @property
    def settled(self) -> str | None:
        """The answer that two witnesses agree on; None while they don't."""
        witnesses = [_as_answer(self.row.expected), _as_answer(self.row.count)]
        given = [answer for _, answer in self.answers]
        for answer in given:
            others = given.count(answer) - 1
            if others or (answer != "unclear" and answer in witnesses):
                return answer
        return None

    @property
    def open(self) -> bool:
        """Whether another reviewer is needed."""
        return self.settled is None and len(self.answers) < MOST_REVIEWERS


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the review is: photos flagged, done with, answered by this reviewer, and open for this reviewer."""

    flagged: int
    done: int
    mine: int
    left: int


def _as_answer(count: int | None) -> str | None:
    return None if count is None else str(count) if count < 10 else "more"


def flagged(ledger: Ledger, since: dt.date | None = None) -> list[Flagged]:
    """Every flagged photo, best bets first. One that was counted again since is flagged if its newest row is."""
    wanted = select(Count.__table__).where(or_(Count.verdict == "mismatch", Count.verdict == "uncertain"))
    wanted = wanted.where(Count.score.is_not(None), newest())
    if since is not None:
        wanted = wanted.where(Count.night >= since)
    # Mismatches first: they are what the night is sure enough about.
    found = _with_answers(ledger, wanted)
    return sorted(found, key=lambda item: (item.row.verdict != "mismatch", -item.row.score, item.row.photo))


def answered(ledger: Ledger) -> list[Flagged]:
    """Every photo with answers, also those that nobody would flag any more now that another model has counted them."""
    given = select(Answer.photo).where(Answer.withdrawn_at.is_(None))
    return _with_answers(ledger, select(Count.__table__).where(Count.photo.in_(given), newest()))


def _with_answers(ledger: Ledger, wanted: Select[Any]) -> list[Flagged]:
    given = select(Answer.__table__).where(Answer.withdrawn_at.is_(None)).order_by(Answer.answered_at, Answer.reviewer)
    with ledger.engine.connect() as connection:
        rows = list(connection.execute(wanted))
        answers: dict[str, list[tuple[str, str]]] = {}
        for answer in connection.execute(given):
            answers.setdefault(answer.photo, []).append((answer.reviewer, answer.answer))
    return [Flagged(row, tuple(answers.get(row.photo, ()))) for row in rows]


def claim_next(ledger: Ledger, reviewer: str, since: dt.date | None = None) -> Flagged | None:
    """Return the next photo for a reviewer, kept from others for ten minutes; None when there is none."""
    taken = {name: holder for name, holder in held(ledger, _CLAIM).items() if holder != reviewer}
    for item in flagged(ledger, since):
        if not _is_for(item, reviewer) or f"{_CLAIM}{item.row.photo}" in taken:
            continue
        if acquire(ledger, f"{_CLAIM}{item.row.photo}", reviewer, CLAIM_SECONDS):
            return item
    return None


def progress(items: Sequence[Flagged], reviewer: str) -> Progress:
    """Count how far the review is."""
    return Progress(
        flagged=len(items),
        done=sum(not item.open for item in items),
        mine=sum(any(who == reviewer for who, _ in item.answers) for item in items),
        left=sum(_is_for(item, reviewer) for item in items),
    )


def _is_for(item: Flagged, reviewer: str) -> bool:
    return item.open and all(who != reviewer for who, _ in item.answers)


def answer(ledger: Ledger, photo: str, reviewer: str, said: str) -> None:
    """Write an answer; the same reviewer's earlier one for the photo is replaced.

    Raises:
        ReviewError: it is no answer, or the photo is unknown.
    """
    if said not in ANSWERS:
        raise ReviewError(f"{said!r} is no answer; there are {', '.join(ANSWERS)}")
    if photo not in ledger.known([photo]):
        raise ReviewError(f"the ledger has no photo {photo!r}")
    dialect = sqlite if ledger.engine.dialect.name == "sqlite" else postgresql
    row = {"photo": photo, "reviewer": reviewer, "answer": said, "answered_at": now(), "withdrawn_at": None}
    insert = dialect.insert(Answer).values(row)
    changes = {name: insert.excluded[name] for name in ("answer", "answered_at", "withdrawn_at")}
    with writing(ledger.engine) as connection:
        connection.execute(insert.on_conflict_do_update(index_elements=["photo", "reviewer"], set_=changes))
    release(ledger, f"{_CLAIM}{photo}", reviewer)


def undo(ledger: Ledger, reviewer: str) -> str | None:
    """Withdraw a reviewer's last answer and give the photo back to them.

    Returns:
        The photo; None where there is nothing to undo, or somebody else is counting the photo by now.
    """
    with writing(ledger.engine) as connection:
        photo = connection.scalar(
            select(Answer.photo)
            .where(Answer.reviewer == reviewer, Answer.withdrawn_at.is_(None))
            .order_by(Answer.answered_at.desc())
            .limit(1)
        )
        if photo is None:
            return None
        table = Answer.__table__
        connection.execute(
            table.update()  # type: ignore[attr-defined]
            .where(table.c.photo == photo, table.c.reviewer == reviewer)
            .values(withdrawn_at=now())
        )
    return str(photo) if acquire(ledger, f"{_CLAIM}{photo}", reviewer, CLAIM_SECONDS) else None


def claim(ledger: Ledger, photo: str, reviewer: str) -> Flagged | None:
    """Return one flagged photo, kept from others; None where it is no flagged one, or somebody else has it."""
    item = next((item for item in flagged(ledger) if item.row.photo == photo), None)
    return item if item and acquire(ledger, f"{_CLAIM}{photo}", reviewer, CLAIM_SECONDS) else None
