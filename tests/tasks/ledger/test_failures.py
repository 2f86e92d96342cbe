"""What the ledger says of a database that is busy, lost or broken, and who tries again."""

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import make_url, text

from tasks.ledger import database
from tasks.ledger.database import open_engine, writing
from tasks.ledger.export import COUNTS_SCHEMA, export_ledger, write_parquet
from tasks.ledger.leases import held, lease
from tasks.ledger.ledger import Ledger
from tasks.transient import is_transient
from tests.ledgers import count_row, new_database
from training.errors import LedgerError, TransientLedgerError


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger in SQLite that waits for a lock for a moment only."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    found = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{tmp_path}/ledger.db")))
    yield found
    found.engine.dispose()


@pytest.fixture
def other(impatient: Ledger) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to it."""
    found = sqlite3.connect(str(impatient.engine.url.database), isolation_level=None)
    yield found
    found.close()


def test_a_locked_ledger_is_worth_another_try(impatient: Ledger, other: sqlite3.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientLedgerError, match=r"ledger\.db is busy or out of reach: database is locked") as caught:
        impatient.upsert_counts([count_row()])
    assert is_transient(caught.value)
    other.execute("ROLLBACK")
    assert impatient.upsert_counts([count_row()]) == 1


def test_a_server_that_fails_over_is_worth_another_try(postgres_server: str) -> None:
    ledger = Ledger(open_engine(make_url(new_database(postgres_server))))
    end_all = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY(:pids)")

    def end(*pids: int) -> None:
        somebody = open_engine(ledger.engine.url)
        with somebody.connect() as connection:
            connection.execute(end_all, {"pids": list(pids)})
        somebody.dispose()

    with pytest.raises(TransientLedgerError, match="terminating connection"), writing(ledger.engine) as connection:  # noqa: PT012 - it is lost inside
        end(connection.scalar(text("SELECT pg_backend_pid()")) or 0)
        connection.execute(text("SELECT 1"))
    assert ledger.upsert_counts([count_row()]) == 1  # by a new connection
    with ledger.engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()")) or 0
    end(pid)  # while it waits in the pool
    assert ledger.size() == 1
    ledger.engine.dispose()


def test_a_broken_ledger_is_not_and_says_what_to_do(ledger: Ledger) -> None:
    with writing(ledger.engine) as connection:
        connection.execute(text("DROP TABLE nights"))
    with pytest.raises(LedgerError, match=r"cannot be used: .*nights.*BINVENTORY_LEDGER") as caught:
        ledger.last_night()
    assert not is_transient(caught.value)


def test_a_lease_is_asked_for_again_while_the_ledger_is_busy(
    impatient: Ledger, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            other.execute("ROLLBACK")

    monkeypatch.setattr("tenacity.nap.time.sleep", sleep)
    other.execute("BEGIN IMMEDIATE")
    with lease(impatient, "night", 0):
        assert list(held(impatient, "night")) == ["night"]
    assert pauses == [2, 4, 8]


def test_a_lease_that_cannot_be_given_back_undoes_nothing(
    impatient: Ledger, other: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with lease(impatient, "night", 0):
        other.execute("BEGIN IMMEDIATE")
    assert "the lease night could not be given back, and ends in 120 s" in caplog.text


@pytest.mark.parametrize(
    ("name", "why"), [(".", "Is a directory"), ("file/labels.parquet", "Not a directory|File exists"),
                      ("x" * 300, "File name too long")]
)  # fmt: skip
def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left_of_it(
    impatient: Ledger, tmp_path: Path, name: str, why: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "file").write_text("not a folder")
    with pytest.raises(LedgerError, match=f"cannot be written: .*({why}).*Name a file"):
        export_ledger(impatient, folder / name)
    assert [path.name for path in (*folder.iterdir(), *tmp_path.glob("*.part"))] == ["file"]


def test_an_export_of_a_ledger_that_is_lost_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    def tables() -> Iterator[pa.Table]:
        yield from ()
        raise TransientLedgerError("out of reach")

    with pytest.raises(TransientLedgerError, match="out of reach"):
        write_parquet(tmp_path / "out.parquet", COUNTS_SCHEMA, tables())
    assert list(tmp_path.glob("*out.parquet*")) == []
