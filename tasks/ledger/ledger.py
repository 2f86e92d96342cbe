"""What the flow and the review page ask of the ledger; every write may be repeated and changes nothing then."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    and_,
    collate,
    column,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    values,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from tasks.ledger.database import ledger_url, open_engine, writing
from tasks.ledger.held_back import held_back, is_held_back
from tasks.ledger.models import Base, Count, Night
from tasks.settings import Settings

LOOKUP = 500
"""Photos asked about in one query: below every database's limit of parameters."""

_COUNTS = Count.__table__
_AGE = ("counted_at", "taken_at", "photo", "model")
"""What rows of one key are ordered by; a night that was picked up may hold two of one moment."""
_BOOKKEEPING = ("night", "run", "counted_at")


class Ledger:
    """The ledger of an installation."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, settings: Settings) -> "Ledger":
        """Open the configured ledger, made or migrated if need be.

        Raises:
            LedgerError: as `tasks.ledger.database.open_engine`.
        """
        return cls(open_engine(ledger_url(settings)))

    def known(self, photos: Iterable[str]) -> set[str]:
        """Which of these photos have been counted, or found unreadable, by whatever model."""
        return self._photos(photos)

    def current(self, photos: Iterable[str]) -> set[str]:
        """Which of these photos are known, and nothing else has been counted at their keys since."""
        return self._photos(photos, newest())

    def counted_since(self, photos: Iterable[str], moment: dt.datetime, run: str) -> set[str]:
        """Which of these photos another run than this one has written since a moment."""
        return self._photos(photos, Count.counted_at > moment, Count.run != run)

    def _photos(self, photos: Iterable[str], *where: ColumnElement[bool]) -> set[str]:
        found: set[str] = set()
        with self.engine.connect() as connection:
            for some in chunked(sorted(photos), LOOKUP):  # in the order of the key's tree, whose pages are then near
                found.update(connection.scalars(select(Count.photo).where(Count.photo.in_(some), *where)))
        return found

    def upsert_counts(self, rows: Sequence[dict[str, Any]]) -> int:
        """Write rows of `Count`, all or none; return how many were new or said something else than before.

        A row that is there already with the same content keeps the run, night and moment of its first writing, unless
        another model has counted the photo since: then what this one says is the newest again.
        """
        if not rows:
            return 0
        insert = self._insert(Count)
        content = [column.name for column in _COUNTS.columns if column.name not in ("photo", "model")]
        differs = [_differs(_COUNTS.c[name], insert.excluded[name]) for name in content if name not in _BOOKKEEPING]
        differs.append(~newest())
        statement = insert.on_conflict_do_update(
            index_elements=["photo", "model"],
            set_={name: insert.excluded[name] for name in content},
            where=or_(*differs),
        ).returning(Count.photo)
        with writing(self.engine) as connection:
            return len(connection.execute(statement, list(rows)).all())

    def record_night(self, row: dict[str, Any]) -> None:
        """Write a night's numbers; a night that is written again is overwritten."""
        with writing(self.engine) as connection:
            insert = self._insert(Night).values(row)
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["run"], set_={name: insert.excluded[name] for name in row if name != "run"}
                )
            )

    def nights_of(self, runs: Iterable[str]) -> dict[str, Row[Any]]:
        """The date of these runs, and the model that they counted with, by run; those not recorded are absent."""
        found: dict[str, Row[Any]] = {}
        with self.engine.connect() as connection:
            for some in chunked(sorted(runs), LOOKUP):
                rows = connection.execute(select(Night.run, Night.night, Night.model).where(Night.run.in_(some)))
                found.update({row.run: row for row in rows})
        return found

    def nights_before(
        self, prefix: str, night: dt.date, run: str, model: str, most: int = 14, least: int = 3
    ) -> list[Row[Any]]:
        """The last nights over a prefix in which a model counted something new, newest first; of a day's runs the last.

        Where there are fewer than ``least``, as over a prefix of a new month, those over its whole bucket. Of photos
        that pipelines held back, and of others, only nights of the same kind are taken together.
        """
        bucket = f"s3://{prefix.removeprefix('s3://').partition('/')[0]}"
        whole = or_(Night.prefix == bucket, Night.prefix.startswith(f"{bucket}/", autoescape=True))
        tests = held_back(Night.prefix, bucket)
        recounted = func.coalesce(Night.totals["recount"].as_boolean(), false())
        for where in (Night.prefix == prefix, and_(whole, tests if is_held_back(prefix) else ~tests)):
            nth = func.row_number().over(partition_by=Night.night, order_by=Night.finished_at.desc()).label("nth")
            counted = (Night.model == model, Night.confidence.is_not(None), ~recounted)
            ranked = (
                select(Night.__table__, nth).where(where, Night.night < night, Night.run != run, *counted).subquery()
            )
            with self.engine.connect() as connection:
                wanted = select(ranked).where(ranked.c.nth == 1).order_by(ranked.c.night.desc()).limit(most)
                found = list(connection.execute(wanted))
            if len(found) >= least:
                break
        return found

    def latest(self, photos: Iterable[str]) -> dict[str, Row[Any]]:
        """The newest row of each of these photos, by photo."""
        found: dict[str, Row[Any]] = {}
        with self.engine.connect() as connection:
            for some in chunked(photos, LOOKUP):
                query = select(_COUNTS).where(Count.photo.in_(some)).order_by(Count.counted_at)
                found.update({row.photo: row for row in connection.execute(query)})
        return found

    def of_bins(self, bucket: str, bins: Iterable[str]) -> list[Row[Any]]:
        """Counted photos of these bins, each key's by its newest row, oldest photo first."""
        return self._counted(bucket, Count.bin, bins, newest())

    def taken_before(self, bucket: str, photos: Iterable[Any]) -> list[Row[Any]]:
        """Of each photo of a bin that the record names the last counted one of that bin that was taken before.

        Where several were taken at that moment, all of them. However long a bin's history is, no more of it is read.
        """
        other = aliased(Count)
        key = collate(other.key, "BINARY" if self.engine.dialect.name == "sqlite" else "C")  # compared as in Python
        columns = [column(each.name, each.type) for each in (_COUNTS.c.bin, _COUNTS.c.taken_at, _COUNTS.c.key)]
        rows: list[Row[Any]] = []
        with self.engine.connect() as connection:
            for some in chunked(photos, LOOKUP):
                asked = values(*columns).data([(photo.bin, photo.taken_at, photo.key) for photo in some]).cte("asked")
                moment = (
                    select(other.taken_at)
                    .where(*_named(other, bucket, asked), other.taken_at <= asked.c.taken_at)
                    .where(tuple_(other.taken_at, key) < tuple_(asked.c.taken_at, asked.c.key))
                    .order_by(other.taken_at.desc())
                    .limit(1)
                )
                last = select(asked, moment.scalar_subquery().label("moment")).cte("last")
                here = (*_named(Count, bucket, last), Count.taken_at == last.c.moment)
                rows += connection.execute(select(_COUNTS).join(last, and_(*here)))
        return rows

    def of_ids(self, bucket: str, ids: Iterable[str]) -> list[Row[Any]]:
        """Counted photos with these ids, oldest photo first."""
        return self._counted(bucket, Count.photo_id, ids)

    def of_night(
        self, bucket: str, prefix: str, night: dt.date, run: str, photos: Iterable[str] = ()
    ) -> list[Row[Any]]:
        """What a night said of the photos under a prefix, by whichever run, best bets first.

        A photo that was counted again since, by another model or because it was replaced, is there by its newest row,
        and is left out where that is another night's.

        Args:
            bucket: of the photos.
            prefix: that their keys begin with.
            night: its date.
            run: the run that asks.
            photos: that are there by their newest rows also where another night wrote those: counting again what was
                counted before changes no row that says the same.
        """
        wanted = [or_(Count.night == night, Count.run == run)]
        wanted += [Count.photo.in_(some) for some in chunked(photos, LOOKUP)]
        found: dict[tuple[str, str], Row[Any]] = {}
        with self.engine.connect() as connection:
            for where in wanted:
                for row in connection.execute(select(_COUNTS).where(where, newest())):
                    # Where they lie is asked here: SQLite would walk the whole bucket by its index, and take ``A/``
                    # for ``a/``.
                    if row.bucket == bucket and row.key.startswith(prefix):
                        found[row.photo, row.model] = row
        return sorted(found.values(), key=lambda row: (-(row.score or 0.0), row.key, row.photo))

    def without_quantity(self, bucket: str, prefix: str, since: dt.date) -> list[Row[Any]]:
        """Counted photos under a prefix, of this night or later, for which the record had no usable quantity."""
        where = (Count.night >= since, Count.status == "counted", Count.expected.is_(None), newest())
        with self.engine.connect() as connection:
            rows = connection.execute(select(_COUNTS).where(*where)).all()
        return [row for row in rows if row.bucket == bucket and row.key.startswith(prefix)]

    def _counted(self, bucket: str, by: Any, wanted: Iterable[str], *where: ColumnElement[bool]) -> list[Row[Any]]:
        rows: list[Row[Any]] = []
        with self.engine.connect() as connection:
            for some in chunked(wanted, LOOKUP):
                query = select(_COUNTS).where(Count.bucket == bucket, by.in_(some), Count.status == "counted", *where)
                rows += connection.execute(query)
        return sorted(rows, key=lambda row: (row.taken_at, row.key, row.counted_at))

    def rows(self, table: type[Base], *where: ColumnElement[bool]) -> Iterator[Row[Any]]:
        """Every row of a table, in the order of its key, without holding all of them in memory."""
        columns = table.__table__
        query = select(columns).where(*where).order_by(*columns.primary_key)
        with self.engine.connect() as connection:
            yield from connection.execution_options(yield_per=5000).execute(query)

    def size(self) -> int:
        """How many counts there are."""
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(Count)) or 0

    def last_night(self) -> dt.date | None:
        """The newest night that was written."""
        with self.engine.connect() as connection:
            return connection.scalar(select(func.max(Night.night)))

    def _insert(self, table: type[Base]) -> Any:
        dialect: Any = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        return dialect.insert(table)


def newest() -> ColumnElement[bool]:
    """Whether a row of `Count` is what was last said of the photo that lies at its key, by whichever model.

    Rows of bytes that were replaced since are not. The columns are named by hand: SQLAlchemy correlates with what a
    SELECT is from, and not with an upsert's table. The id is named for its index; one key has one id.
    """
    since = aliased(Count)
    bucket, photo_id, key = (_column(name) for name in ("bucket", "photo_id", "key"))
    here = tuple_(*(_column(name) for name in _AGE))
    later = tuple_(*(getattr(since, name) for name in _AGE)) > here
    return ~exists().where(since.bucket == bucket, since.photo_id == photo_id, since.key == key, later)


def _named(count: Any, bucket: str, photo: Any) -> tuple[ColumnElement[bool], ...]:
    """Whether a row is of a bin that the record names, and counted there another photo than this one."""
    counted = (count.status == "counted", count.products.is_(None), count.key != photo.c.key)
    return count.bucket == bucket, count.bin == photo.c.bin, *counted


def _column(name: str) -> ColumnElement[Any]:
    return literal_column(f"counts.{name}")


def _differs(here: Any, there: Any) -> Any:
    """JSON has no equality in PostgreSQL; its text has."""
    from sqlalchemy import JSON, Text, cast

    if isinstance(here.type, JSON):
        return cast(here, Text).is_distinct_from(cast(there, Text))
    return here.is_distinct_from(there)


def chunked(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of at most ``size`` items."""
    some: list[Any] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
