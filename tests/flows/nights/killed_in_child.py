"""Runs a night in a process that kills itself, with SIGKILL, in the step that its first argument names."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from sqlalchemy import Connection, Engine

from flows.command_line import run
from flows.nightly_count import nightly_count
from tasks.home import write_at_home
from tasks.ledger.database import writing
from tasks.nightly.parameters import NightParameters


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(work: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        work(*arguments)
        die()

    return wrapped


@contextlib.contextmanager
def dying_before_the_commit(engine: Engine) -> Iterator[Connection]:
    """Dies in the transaction that writes the counts, when they are written and not yet committed."""
    with writing(engine) as connection:
        yield connection
        die()


def patches() -> dict[str, Any]:
    return {
        "find": ("tasks.nightly.plan.write_at_home", die_after(write_at_home)),
        "count": ("tasks.nightly.count.follow", die),
        "counted": ("tasks.nightly.tasks.write_outcomes", die),
        "remember": ("tasks.ledger.ledger.writing", dying_before_the_commit),
        "report": ("tasks.nightly.tasks._publish", die),
        "tell": ("tasks.nightly.tell.tell", die),
    }


if __name__ == "__main__":
    target, replacement = patches()[sys.argv.pop(1)]
    with mock.patch(target, replacement):
        sys.exit(run(nightly_count, NightParameters, "nightly_count"))
