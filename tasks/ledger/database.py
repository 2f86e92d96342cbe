"""Opening the ledger: SQLite in the home folder, or PostgreSQL by its URL; brought up to date by Alembic."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError

from tasks.ledger.failures import explain_failures
from tasks.settings import Settings
from training.errors import LedgerError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 60
_MIGRATION_LOCK = 0x62696E76  # any number, the same for everybody who migrates a PostgreSQL ledger


def ledger_url(settings: Settings) -> URL:
    """Return where the ledger is.

    Raises:
        LedgerError: the setting is no URL of a database that the ledger can live in.
    """
    if not settings.ledger:
        return URL.create("sqlite+pysqlite", database=str(settings.home / "ledger.db"))
    try:
        url = make_url(settings.ledger)
    except ArgumentError as error:
        raise LedgerError(
            "BINVENTORY_LEDGER is no SQLAlchemy URL; it looks like postgresql://user@host/database or sqlite:////path"
        ) from error
    drivers = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
    if url.get_backend_name() not in drivers:
        raise LedgerError(f"BINVENTORY_LEDGER: the ledger lives in SQLite or PostgreSQL, not {url.get_backend_name()}")
    return url.set(drivername=drivers[url.get_backend_name()])


def open_engine(url: URL) -> Engine:
    """Open the database and bring it to this version's tables.

    Whatever fails on the engine later is a `LedgerError` too.

    Raises:
        LedgerError: it is no ledger, or was written by a newer version.
        TransientLedgerError: it is busy, or cannot be reached now.
    """
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        _prepare_sqlite(engine)
    else:
        engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    explain_failures(engine)
    try:
        with _one_at_a_time(engine):
            _migrate(engine)
    except LedgerError:
        engine.dispose()
        raise
    return engine


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes. On SQLite it takes the write lock first, so it cannot fail half-way."""
    with engine.execution_options(takes_write_lock=True).begin() as connection:
        yield connection


def _prepare_sqlite(engine: Engine) -> None:
    """WAL and explicit transactions, as SQLAlchemy's documentation of pysqlite describes them."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("takes_write_lock")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextlib.contextmanager
def _one_at_a_time(engine: Engine) -> Iterator[None]:
    """Two processes that open a new ledger at once must not both create its tables."""
    if engine.dialect.name == "sqlite":
        database = engine.url.database
        if not database or database == ":memory:":
            yield
            return
        path = Path(database)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_name(f"{path.name}.lock").open("ab")
        except OSError as error:
            raise LedgerError(
                f"The ledger {path} cannot be written: {error.strerror}. Set BINVENTORY_HOME to a folder of your own, "
                "or name another ledger in BINVENTORY_LEDGER."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    else:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:n)"), {"n": _MIGRATION_LOCK})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": _MIGRATION_LOCK})


def alembic_config() -> Config:
    """Return Alembic's configuration, which needs no ``alembic.ini``."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def _migrate(engine: Engine) -> None:
    config = alembic_config()
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current == scripts.get_current_head():
        return
    if current is not None and current not in known:
        raise LedgerError(
            f"The ledger {_shown(engine.url)} was written by a newer Binventory (its tables are revision {current}; "
            f"this version knows up to {scripts.get_current_head()}). Update Binventory, or name another ledger in "
            "BINVENTORY_LEDGER; nothing was changed."
        )
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)
