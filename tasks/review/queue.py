"""Which flagged photos still need a person, who is at which, and what they answered.

A photo is settled when two of its witnesses agree, at least one of them a person: the record, the model, and every
reviewer. So a first reviewer who confirms either settles it; one who contradicts both calls in a second. Where three
reviewers all differ, nobody is asked again. What was settled stays so when another model counts the photo again.
"""

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Text, and_, case, cast, exists, func, or_, select, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from tasks.ledger.database import writing
from tasks.ledger.held_back import held_back
from tasks.ledger.leases import acquire, held, release
from tasks.ledger.ledger import LOOKUP, Ledger, chunked, newest
from tasks.ledger.models import Answer, Count, now
from tasks.review.reviewers import holder, is_of, person, person_in_sql
from training.errors import ReviewError

ANSWERS = (*map(str, range(10)), "more", "unclear")
"""What can be answered: a count, ten or more, or that the photo does not tell."""

GONE, NOBODY = "gone", ""
"""What stands as the answer to a photo that left S3 before anybody counted it, and as its reviewer."""

MOST_REVIEWERS = 3
CLAIM_SECONDS = 600.0
_CLAIM = "review/"
_VERDICTS = ("mismatch", "uncertain")
"""Flagged ones, in the order of the queue: mismatches are what the night is sure enough about."""
_AT_ONCE = 20
_QUEUED = dt.timedelta(days=14)
"""How long a flagged photo is asked about: a bin has changed since, and a queue of all nights grows for good."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """Which of the flagged photos are asked about.

    Attributes:
        prefix: S3 URI that they are under. Empty: all but those that pipelines held back, which test a model and are
            asked about where nothing else has ever been flagged.
        since: the first night of which they may be. None: of the last fourteen nights, up to the newest over them.
    """

    prefix: str = ""
    since: dt.date | None = None


LAST_NIGHTS = Scope()


@dataclasses.dataclass(frozen=True)
class Flagged:
    """A flagged photo with its active answers.

    Attributes:
        row: the newest of the photo.
        answers: pairs of reviewer and answer, oldest first.
        confirmed: those answers that the record or a model gave too.
    """

    row: Any
    answers: tuple[tuple[str, str], ...]
    confirmed: frozenset[str]

    @property
    def settled(self) -> str | None:
        """The answer that two witnesses agree on, or that the photo is gone; None while they don't."""
        said = Counter(answer for _, answer in {(person(who), answer) for who, answer in self.answers})
        return next((answer for _, answer in self.answers if answer in self.confirmed or said[answer] > 1), None)

    @property
    def contradicts_the_record(self) -> bool:
        """Whether people settled on another count than the record had."""
        return self.settled not in (None, "unclear", GONE, _as_answer(self.row.expected))


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the review is: photos flagged, done with, answered by this reviewer, and open for this reviewer.

    Those that were gone before anybody counted them are done with, too.
    """

    flagged: int
    done: int
    mine: int
    left: int
    gone: int


def _as_answer(count: int | None) -> str | None:
    return None if count is None else str(count) if count < 10 else "more"


def flagged(ledger: Ledger, *where: ColumnElement[bool], most: int | None = None) -> list[Flagged]:
    """Flagged photos, best bets first. One that was counted again since is flagged if its newest row is.

    Args:
        ledger: with the photos.
        where: what else holds of them.
        most: at most so many are read.
    """
    found: list[Row[Any]] = []
    with ledger.engine.connect() as connection:
        for verdict in _VERDICTS:
            left = None if most is None else most - len(found)
            wanted = select(Count.__table__).where(_verdict() == verdict, *_flagged(), *where)
            found += connection.execute(wanted.order_by(Count.score.desc(), Count.photo).limit(left))
    return with_answers(ledger, found)


def answered(ledger: Ledger) -> list[Flagged]:
    """Every photo with answers, also those that nobody would flag any more now that another model has counted them."""
    wanted = select(Count.__table__).where(Count.photo.in_(_answered()), newest())
    with ledger.engine.connect() as connection:
        return with_answers(ledger, list(connection.execute(wanted)))


def with_answers(ledger: Ledger, rows: Sequence[Row[Any]]) -> list[Flagged]:
    """Rows of photos with their answers."""
    answers: dict[str, list[Any]] = {}
    columns = (Answer.photo, Answer.reviewer, Answer.answer, _confirmed(Answer).label("confirmed"))
    with ledger.engine.connect() as connection:
        for photos in chunked((row.photo for row in rows), LOOKUP):
            given = select(*columns).where(Answer.photo.in_(photos), Answer.withdrawn_at.is_(None))
            for answer in connection.execute(given.order_by(Answer.answered_at, Answer.reviewer)):
                answers.setdefault(answer.photo, []).append(answer)
    return [_with_answers(row, answers.get(row.photo, ())) for row in rows]


def _with_answers(row: Row[Any], given: Sequence[Any]) -> Flagged:
    confirmed = frozenset(each.answer for each in given if each.confirmed)
    return Flagged(row, tuple((each.reviewer, each.answer) for each in given), confirmed)


def claim_next(ledger: Ledger, reviewer: str, scope: Scope = LAST_NIGHTS, browser: str = "") -> Flagged | None:
    """Return the next photo for a reviewer, kept from others for ten minutes; None when there is none.

    Args:
        ledger: with the photos.
        reviewer: who counts.
        scope: the photos that are asked about.
        browser: tells the reviewer from others of the same name, here and below.
    """
    while items := waiting(ledger, reviewer, scope, _AT_ONCE, browser):
        for item in items:
            if acquire(ledger, f"{_CLAIM}{item.row.photo}", holder(reviewer, browser), CLAIM_SECONDS):
                return item
    return None


def waiting(ledger: Ledger, reviewer: str, scope: Scope, most: int, browser: str = "") -> list[Flagged]:
    """The next photos for a reviewer that nobody else is at, in the order of the queue."""
    mine = holder(reviewer, browser)
    taken = [name.removeprefix(_CLAIM) for name, whose in held(ledger, _CLAIM).items() if whose != mine]
    wanted = (_open(), ~_has_answer_of(reviewer), Count.photo.not_in(taken), *_inside(ledger, scope))
    return flagged(ledger, *wanted, most=most)


def progress(ledger: Ledger, reviewer: str, scope: Scope = LAST_NIGHTS) -> Progress:
    """Count how far the review is."""
    wanted = (_verdict().in_(_VERDICTS), *_flagged(), *_inside(ledger, scope))
    closed, mine, gone = ~_open(), _has_answer_of(reviewer), _has_answer_of(NOBODY)
    each = (closed, mine, or_(closed, mine), gone)
    sums = (func.coalesce(func.sum(case((which, 1), else_=0)), 0) for which in each)
    with ledger.engine.connect() as connection:
        every = connection.scalar(select(func.count()).select_from(Count).where(*wanted)) or 0
        # Only a photo with an answer can be closed or a reviewer's own, and those are few.
        found = connection.execute(select(*sums).select_from(Count).where(*wanted, Count.photo.in_(_answered())))
        done, own, not_left, left_s3 = found.one()
    return Progress(flagged=every, done=done, mine=own, left=every - not_left, gone=left_s3)


def _flagged() -> list[ColumnElement[bool]]:
    """What holds of flagged photos besides their verdict."""
    return [Count.score.is_not(None), newest()]


def _verdict() -> ColumnElement[str]:
    """The verdict as no index has it, so that SQLite finds a queue by the index on night, however long the history."""
    return func.coalesce(Count.verdict, "")


def _inside(ledger: Ledger, scope: Scope) -> list[ColumnElement[bool]]:
    """What holds of the photos of a scope."""
    place = _under(scope.prefix) if scope.prefix else ~held_back(Count.key)
    any_flagged = select(Count.photo).where(Count.verdict.in_(_VERDICTS), *_flagged(), place).limit(1)
    with ledger.engine.connect() as connection:
        if not scope.prefix and connection.scalar(any_flagged) is None:
            place = true()
        last = connection.scalar(select(Count.night).where(place).order_by(Count.night.desc()).limit(1))
    since = scope.since or (last - _QUEUED + dt.timedelta(days=1) if last else dt.date.min)
    return [Count.night >= since, place]


def _under(prefix: str) -> ColumnElement[bool]:
    bucket, _, folder = prefix.removeprefix("s3://").partition("/")
    here = f"{bucket}/{folder}"
    # Not LIKE, by which SQLite takes ``A/`` for ``a/``.
    return func.substr(Count.bucket + "/" + Count.key, 1, len(here)) == here


def _answered() -> Select[Any]:
    return select(Answer.photo).where(Answer.withdrawn_at.is_(None))


def _has_answer_of(reviewer: str) -> ColumnElement[bool]:
    one = aliased(Answer)
    return exists().where(one.photo == Count.photo, is_of(one, reviewer), one.withdrawn_at.is_(None))


def _open() -> ColumnElement[bool]:
    """Whether another reviewer is needed: few have answered, and `Flagged.settled` would be None."""
    one, other = aliased(Answer), aliased(Answer)
    same = exists().where(
        other.photo == one.photo,
        person_in_sql(other.reviewer) != person_in_sql(one.reviewer),
        other.answer == one.answer,
        other.withdrawn_at.is_(None),
    )
    settled = exists().where(one.photo == Count.photo, one.withdrawn_at.is_(None), or_(_confirmed(one), same))
    given = select(func.count()).where(one.photo == Count.photo, one.withdrawn_at.is_(None)).scalar_subquery()
    return and_(~settled, given < MOST_REVIEWERS)


def _confirmed(given: Any) -> ColumnElement[bool]:
    """Whether the record or a model says what an answer says, or the answer is that the photo is gone.

    Every row of the photo is a witness but those that another model's had replaced when the answer was given: so a
    later model takes no witness away, and an earlier one is none.
    """
    row, later = aliased(Count), aliased(Count)
    replaced = exists().where(
        later.photo == row.photo, later.counted_at > row.counted_at, later.counted_at <= given.answered_at
    )
    says_so = or_(given.answer == _as_answer_in_sql(row.expected), given.answer == _as_answer_in_sql(row.count))
    witness = exists().where(row.photo == given.photo, says_so, ~replaced.correlate(row, given))
    return or_(given.answer == GONE, witness)


def _as_answer_in_sql(count: Any) -> ColumnElement[str]:
    return case((count < 10, cast(count, Text)), (count >= 10, "more"))


def answer(ledger: Ledger, photo: str, reviewer: str, said: str, browser: str = "") -> None:
    """Write an answer; the same reviewer's earlier one for the photo is replaced.

    Raises:
        ReviewError: it is no answer, or the photo is unknown.
    """
    if said not in ANSWERS:
        raise ReviewError(f"{said!r} is no answer; there are {', '.join(ANSWERS)}")
    if photo not in ledger.known([photo]):
        raise ReviewError(f"the ledger has no photo {photo!r}")
    _write(ledger, [photo], reviewer, said)
    release(ledger, f"{_CLAIM}{photo}", holder(reviewer, browser))


def leave_out(ledger: Ledger, photos: Sequence[str]) -> None:
    """Close photos that are gone from S3: nobody is asked about them any more, and they are no labels."""
    _write(ledger, photos, NOBODY, GONE)


def _write(ledger: Ledger, photos: Sequence[str], reviewer: str, said: str) -> None:
    dialect = sqlite if ledger.engine.dialect.name == "sqlite" else postgresql
    row = {"reviewer": person(reviewer), "answer": said, "answered_at": now(), "withdrawn_at": None}
    insert: Any = dialect.insert(Answer)
    changes = {name: insert.excluded[name] for name in ("answer", "answered_at", "withdrawn_at")}
    statement = insert.on_conflict_do_update(index_elements=["photo", "reviewer"], set_=changes)
    with writing(ledger.engine) as connection:
        connection.execute(statement, [row | {"photo": photo} for photo in photos])


def undo(ledger: Ledger, photo: str, reviewer: str, browser: str = "") -> str | None:
    """Withdraw a reviewer's answer and give the photo back to them.

    Returns:
        The photo; None where there is nothing to undo, or somebody else is counting the photo by now.
    """
    mine = (Answer.photo == photo, is_of(Answer, reviewer), Answer.withdrawn_at.is_(None))
    with writing(ledger.engine) as connection:
        if not connection.execute(update(Answer).where(*mine).values(withdrawn_at=now())).rowcount:
            return None
    return photo if acquire(ledger, f"{_CLAIM}{photo}", holder(reviewer, browser), CLAIM_SECONDS) else None


def claim(ledger: Ledger, photo: str, reviewer: str, browser: str = "") -> Flagged | None:
    """Return one flagged photo, kept from others; None where it is no flagged one, or somebody else has it."""
    items = flagged(ledger, Count.photo == photo)
    mine = holder(reviewer, browser)
    return items[0] if items and acquire(ledger, f"{_CLAIM}{photo}", mine, CLAIM_SECONDS) else None
