"""A ledger with flagged photos, and the page over it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
import uvicorn
from sqlalchemy import make_url

from tasks.data.demo_photos.contents import bin_contents
from tasks.data.demo_photos.plan import plan_photos
from tasks.data.demo_photos.scene import render_photo
from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Count
from tasks.nightly.photos import list_objects
from tasks.object_store import ensure_bucket, open_store
from tasks.review.app import make_app
from tasks.review.serve import ReviewParameters, make_review
from tests.ledgers import count_row
from tests.tasks.ledger.conftest import url

__all__ = ["url"]

FLAGGED = 4


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Flagged photos in SQLite: a browser sees no other database."""
    with flagged_photos(f"sqlite+pysqlite:///{tmp_path}/ledger.db") as found:
        yield found


@contextmanager
def flagged_photos(url: str) -> Iterator[Ledger]:
    """Four flagged photos, best bets first 0 to 3, of which the first has one before it; and one that matches."""
    found = Ledger(open_engine(make_url(url)))
    before = count_row("bins/before.jpg", verdict="match", score=0.01)
    rows = [count_row(f"bins/{n}.jpg", score=1.0 - n / 10) for n in range(FLAGGED)]
    rows[0]["before"] = before["photo"]
    found.upsert_counts([before, *rows])
    yield found
    found.engine.dispose()


class Server:
    """The page, served in a thread."""

    def __init__(self, ledger: Ledger, parameters: ReviewParameters) -> None:
        self.review = make_review(parameters, ledger)
        self.server = uvicorn.Server(uvicorn.Config(make_app(self.review), port=0, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def photos(s3: Path) -> dict[str, str]:
    """The flagged photos on S3, as their ETags by key.

    They are put there through its door, since the server remembers what a folder held.
    """
    ensure_bucket("s3://bucket")
    store = open_store("s3://bucket/bins")
    names = ["before", *map(str, range(FLAGGED))]
    for name, planned in zip(names, plan_photos(40, 0)[10:], strict=False):
        obstore.put(store, f"{name}.jpg", render_photo(planned, bin_contents(planned, 0), 0))
    return {photo.key: photo.etag for photo in list_objects("s3://bucket/bins/")}


@pytest.fixture
def server(ledger: Ledger, photos: dict[str, str]) -> Iterator[Server]:
    ledger.upsert_counts([dict(row._mapping) | {"etag": photos[row.key]} for row in ledger.rows(Count)])
    running = Server(ledger, ReviewParameters())
    yield running
    running.stop()
