"""What holds jobs together, each part by itself: shims, locks and workers."""

import os
import sqlite3
from pathlib import Path

import pytest

from localcloud.host import workers
from localcloud.host.processes import ProcessSpec
from localcloud.host.workers import Workers


def sh(script: str, folder: Path) -> ProcessSpec:
    return ProcessSpec(["/bin/sh", "-c", script], dict(os.environ), folder)


def test_a_change_that_must_not_be_lost_waits_for_room_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "RETRY_SECONDS", 0.01)
    some, results = Workers(), iter([sqlite3.OperationalError("database or disk is full"), None])

    def change() -> None:
        if error := next(results):
            raise error

    assert some.insist(change)
    some.stop()
    results = iter([sqlite3.OperationalError("database or disk is full")])
    assert not some.insist(change), "the service stops: the job is picked up by the next one"
