"""Failures of the ledger's database, as errors that say whether they may pass, and what to do."""

import sqlite3

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError

from training.errors import LedgerError, TransientLedgerError

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_MAY_PASS = ("08", "25006", "40", "53", "55P03", "57P")
"""How PostgreSQL's codes of such failures begin.

In this order: the connection is lost, the server is a standby and not yet the primary, two transactions are in each
other's way, there is too little of something, a lock is taken, and the server stops or starts.
"""


def explain_failures(engine: Engine) -> None:
    """Make a `LedgerError` of whatever an engine's database fails at, a `TransientLedgerError` of what may pass."""
    where = engine.url.render_as_string(hide_password=True)

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if not isinstance(error, DBAPIError):  # a mistake of ours
            return
        said = " ".join(str(error.orig).split())
        if context.is_disconnect or _may_pass(error):
            raise TransientLedgerError(
                f"The ledger {where} is busy or out of reach: {said}. Try again; if it lasts, look after the database."
            )
        raise LedgerError(
            f"The ledger {where} cannot be used: {said}. Mend the database, or name another ledger in "
            "BINVENTORY_LEDGER."
        )


def _may_pass(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _BUSY  # the higher bits say which kind of busy
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # PostgreSQL's client says so itself, as no server does
        return isinstance(error, OperationalError)
    return str(state).startswith(_MAY_PASS)
