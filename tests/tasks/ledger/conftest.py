"""Every test of the ledger runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tests.ledgers import new_database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new ledger."""
    if request.param == "sqlite":
        return f"sqlite+pysqlite:///{tmp_path}/ledger.db"
    return new_database(request.getfixturevalue("postgres_server"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    found = Ledger(open_engine(make_url(url)))
    yield found
    found.engine.dispose()
