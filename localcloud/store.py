"""The memory of the cloud: resources and tags in SQLite, safe against ``kill -9`` at any moment.

A resource is one row: its kind, its name, and a document (what Describe answers, in the names of the API;
timestamps are seconds since the epoch). Every change is one transaction, so none is ever half-written.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resource (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    arn TEXT NOT NULL UNIQUE,
    parent TEXT,
    status TEXT,
    created REAL NOT NULL,
    modified REAL NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS resource_by_creation ON resource (kind, created, name);
CREATE INDEX IF NOT EXISTS resource_by_parent ON resource (kind, parent);
CREATE TABLE IF NOT EXISTS tag (
    arn TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (arn, key)
) WITHOUT ROWID;
"""


class NameTakenError(Exception):
    """A resource of this kind and name exists; carries its ARN."""

    def __init__(self, arn: str) -> None:
        super().__init__(arn)
        self.arn = arn


class NoSuchResourceError(Exception):
    """No resource of this kind has this name."""


@dataclass(frozen=True)
class Filter:
    """What a List call asks for. ``after`` is the (sort value, name) of the last item already given."""

    name_contains: str | None = None
    status: str | None = None
    parent: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    modified_after: float | None = None
    modified_before: float | None = None
    sort_by: str = "created"
    descending: bool = True
    after: tuple[float | str, str] | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Row:
    """One resource as it is stored."""

    name: str
    arn: str
    status: str | None
    created: float
    modified: float
    document: Document


class Store:
    """Resources by kind and name. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA busy_timeout = 10000")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One atomic change: everything in the block is stored, or nothing. May be nested."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.OperationalError):  # SQLite has rolled back itself where the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def insert(
        self,
        kind: str,
        name: str,
        arn: str,
        document: Document,
        *,
        parent: str | None = None,
    ) -> None:
        """Store a new resource. Raises NameTakenError when the name is in use, or one that differs only in case."""
        now = float(document.get("CreationTime", time.time()))
        status = document.get(_STATUS_MEMBERS.get(kind, ""))
        with self.transaction() as connection:
            try:
                connection.execute(
                    "INSERT INTO resource VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (kind, name, arn, parent, status, now, now, json.dumps(document)),
                )
            except sqlite3.IntegrityError as error:  # of the name, or of the ARN, which has it in lower case
                raise NameTakenError(arn) from error

    def get(self, kind: str, name: str) -> Document | None:
        """The document of a resource, or None."""
        with self._lock:
            found = self._connection.execute(
                "SELECT document FROM resource WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def update(self, kind: str, name: str, change: Callable[[Document], None]) -> Document:
        """Change a document in one transaction and return the new one.

        A ``LastModifiedTime`` in the document is set to now. Raises NoSuchResourceError when the resource is gone.
        """
        with self.transaction() as connection:
            document = self.get(kind, name)
            if document is None:
                raise NoSuchResourceError(f"{kind} {name}")
            change(document)
            now = time.time()
            if "LastModifiedTime" in document:
                document["LastModifiedTime"] = now
            connection.execute(
                "UPDATE resource SET document = ?, status = ?, modified = ? WHERE kind = ? AND name = ?",
                (json.dumps(document), document.get(_STATUS_MEMBERS.get(kind, "")), now, kind, name),
            )
            return document

    def delete(self, kind: str, name: str) -> bool:
        """Forget a resource and its tags; False when there was none."""
        with self.transaction() as connection:
            found = connection.execute(
                "DELETE FROM resource WHERE kind = ? AND name = ? RETURNING arn", (kind, name)
            ).fetchone()
            if found is None:
                return False
            connection.execute("DELETE FROM tag WHERE arn = ?", found)
            return True

    def detach(self, kind: str, parent: str) -> None:
        """Let the resources of a parent that is gone have none, so that another of its name does not get them."""
        with self.transaction() as connection:
            connection.execute("UPDATE resource SET parent = NULL WHERE kind = ? AND parent = ?", (kind, parent))

    def locate(self, arn: str) -> tuple[str, str] | None:
        """The kind and the name of the resource that has this ARN, or None when nothing has it."""
        with self._lock:
            found = self._connection.execute("SELECT kind, name FROM resource WHERE arn = ?", (arn,)).fetchone()
        return None if found is None else (str(found[0]), str(found[1]))

    def find(self, kind: str, wanted: Filter | None = None) -> list[Row]:
        """The resources of a kind that a filter lets through, in its order."""
        wanted = wanted or Filter()
        conditions, values = _conditions(kind, wanted)
        direction = "DESC" if wanted.descending else "ASC"
        limit = -1 if wanted.limit is None else wanted.limit
        statement = (
            "SELECT name, arn, status, created, modified, document FROM resource"  # noqa: S608
            f" WHERE {' AND '.join(conditions)}"
            f" ORDER BY {_SORT_COLUMNS[wanted.sort_by]} {direction}, name {direction} LIMIT ?"
        )
        with self._lock:
            rows = self._connection.execute(statement, (*values, limit)).fetchall()
        return [
            Row(name, arn, status, created, modified, json.loads(text))
            for name, arn, status, created, modified, text in rows
        ]

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of a resource, by key in order."""
        with self._lock:
            return dict(self._connection.execute("SELECT key, value FROM tag WHERE arn = ? ORDER BY key", (arn,)))

    def set_tags(self, arn: str, tags: dict[str, str]) -> None:
        """Add tags, replacing those of the same key."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO tag VALUES (?, ?, ?)",
                [(arn, key, value) for key, value in tags.items()],
            )

    def delete_tags(self, arn: str, keys: list[str]) -> None:
        """Remove tags by key; unknown keys are ignored, as AWS does."""
        with self.transaction() as connection:
            connection.executemany("DELETE FROM tag WHERE arn = ? AND key = ?", [(arn, key) for key in keys])


_SORT_COLUMNS = {"created": "created", "modified": "modified", "name": "name", "status": "status"}
_STATUS_MEMBERS: dict[str, str] = {}


def declare_status_member(kind: str, member: str) -> None:
    """Say which member of a kind's document is its status, so that List calls can filter by it."""
    _STATUS_MEMBERS[kind] = member


def _conditions(kind: str, wanted: Filter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = ["kind = ?"]
    values: list[Any] = [kind]
    comparisons: list[tuple[str, Any]] = [
        ("instr(lower(name), lower(?)) > 0", wanted.name_contains),
        ("status = ?", wanted.status),
        ("parent = ?", wanted.parent),
        ("created > ?", wanted.created_after),
        ("created < ?", wanted.created_before),
        ("modified > ?", wanted.modified_after),
        ("modified < ?", wanted.modified_before),
    ]
    for condition, value in comparisons:
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if wanted.after is not None:
        column = _SORT_COLUMNS[wanted.sort_by]
        conditions.append(f"({column}, name) {'<' if wanted.descending else '>'} (?, ?)")
        values.extend(wanted.after)
    return conditions, values
