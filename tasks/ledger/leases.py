"""Leases: only one process at a time counts photos of a bucket, only one person at a time looks at a photo.

A lease is a row with a holder and an end. A holder that dies on this machine is found out at once, elsewhere when its
lease has run out.
"""

import contextlib
import datetime as dt
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from sqlalchemy import delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_attempt, wait_exponential

from tasks.ledger.database import writing
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Lease, now
from training.errors import LeaseError, LedgerError, TransientLedgerError

LEASE_SECONDS = 120.0
_LONGEST_HOLDER = 300
log = logging.getLogger(__name__)

_PATIENTLY = Retrying(
    retry=retry_if_exception_type(TransientLedgerError),
    stop=stop_after_attempt(5),
    wait=wait_exponential(multiplier=2),
    before_sleep=before_sleep_log(log, logging.WARNING),
    reraise=True,
)
"""As long as `tasks.retries` has it: a lease is taken by flows, whose tasks alone are tried again by Prefect."""


def this_process() -> str:
    """Return a name for this process that no other process has or will have."""
    return f"process {socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


def _began(pid: int) -> str:
    """When a process of this machine began, which tells it from others that had its number.

    Where there is /proc, in ticks since the machine began: a time of day would be another one as soon as the clock is
    set, and a night that goes on would look dead.

    Raises:
        OSError: it cannot be looked at; there may be none.
        psutil.Error: the same, where there is no /proc.
    """
    if not psutil.LINUX:
        return f"{psutil.Process(pid).create_time():.2f}"
    after_its_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return after_its_name[19].decode()


def acquire(ledger: Ledger, name: str, holder: str, seconds: float) -> bool:
    """Take a lease, or make it longer where it is the holder's already; False where somebody else has it."""
    moment = now()
    end = moment + dt.timedelta(seconds=seconds)
    dialect = sqlite if ledger.engine.dialect.name == "sqlite" else postgresql
    with writing(ledger.engine) as connection:
        current = connection.scalar(select(Lease.holder).where(Lease.name == name))
        dead = current if current is not None and _is_dead(current) else holder
        insert = dialect.insert(Lease).values(name=name, holder=holder, expires_at=end)
        statement = insert.on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": holder, "expires_at": end},
            where=or_(Lease.holder == holder, Lease.expires_at < moment, Lease.holder == dead),
        ).returning(Lease.holder)
        return connection.execute(statement).first() is not None


def release(ledger: Ledger, name: str, holder: str) -> None:
    """Give a lease back, if it is still the holder's."""
    with writing(ledger.engine) as connection:
        connection.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))


def held(ledger: Ledger, prefix: str) -> dict[str, str]:
    """Who holds which lease, of those whose names begin so and that have not run out."""
    query = select(Lease.name, Lease.holder).where(Lease.name.startswith(prefix, autoescape=True))
    with ledger.engine.connect() as connection:
        rows = connection.execute(query.where(Lease.expires_at >= now()))
        return {row.name: row.holder for row in rows}


@contextlib.contextmanager
def lease(
    ledger: Ledger, name: str, wait_seconds: float, purpose: str = "", poll_seconds: float = 1.0
) -> Iterator[None]:
    """Hold a lease for as long as the block runs, renewed by a thread.

    Args:
        ledger: where it is.
        name: of the lease.
        wait_seconds: how long to wait for somebody else.
        purpose: what others are told that it is held for; the end of a long one is cut off.
        poll_seconds: how often to look.

    Raises:
        LeaseError: somebody else still had it after ``wait_seconds``.
        TransientLedgerError: the ledger did not answer in several tries.
    """
    holder = f"{this_process()} {purpose}"[:_LONGEST_HOLDER] if purpose else this_process()
    deadline = time.monotonic() + wait_seconds
    while not _PATIENTLY(acquire, ledger, name, holder, LEASE_SECONDS):
        if time.monotonic() >= deadline:
            held_by = held(ledger, name).get(name, "just released")
            raise LeaseError(
                f"another run is at it ({name}: {held_by}); one that died is passed over after "
                f"{LEASE_SECONDS:.0f} seconds",
                purpose=_purpose(held_by),
            )
        time.sleep(min(poll_seconds, max(0.0, deadline - time.monotonic())))
    over = threading.Event()
    keeper = threading.Thread(target=_renew, args=(ledger, name, holder, over), name=f"lease {name}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        _give_back(ledger, name, holder)


def _renew(ledger: Ledger, name: str, holder: str, over: threading.Event) -> None:
    while not over.wait(LEASE_SECONDS / 4):
        try:
            if not acquire(ledger, name, holder, LEASE_SECONDS):
                # Harmless for the ledger, whose writes may be repeated; but photos may be counted, and paid, twice.
                log.warning("the lease %s was lost: another run may be counting the same photos", name)
        except LedgerError as error:
            log.warning("the lease %s could not be renewed: %s", name, error)


def _give_back(ledger: Ledger, name: str, holder: str) -> None:
    """Release a lease; what was done under it is not lost because this fails."""
    try:
        release(ledger, name, holder)
    except LedgerError as error:
        log.warning("the lease %s could not be given back, and ends in %.0f s: %s", name, LEASE_SECONDS, error)


def _words(holder: str) -> list[str]:
    """What a holder's name is made of: four words for the process, and one for what it holds the lease for."""
    return holder.split(" ", 4)


def _purpose(holder: str) -> str:
    words = _words(holder)
    return words[4] if len(words) > 4 else ""


def _is_dead(holder: str) -> bool:
    """Whether a holder is a process of this machine that is gone."""
    words = _words(holder)
    if len(words) < 4 or words[0] != "process" or words[1] != socket.gethostname() or words[2] == str(os.getpid()):
        return False
    if not words[2].isdecimal():
        return True
    try:
        return _began(int(words[2])) != words[3]
    except (OSError, psutil.Error):
        return not psutil.pid_exists(int(words[2]))
