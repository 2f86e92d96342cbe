"""Runs a night in a process that kills itself, with SIGKILL, in the step that its first argument names."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

from flows.command_line import run
from flows.nightly_count import nightly_count
from tasks.atomic_file import write_atomically
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Count
from tasks.nightly.parameters import NightParameters


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(work: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        work(*arguments)
        die()

    return wrapped


def die_half_way() -> Callable[..., Any]:
    """Dies in the transaction that writes the counts, when some of them are written."""
    insert, calls = Ledger._insert, iter(range(100))

    def wrapped(ledger: Ledger, table: Any) -> Any:
        if table is Count and next(calls) == 1:
            die()
        return insert(ledger, table)

    return wrapped


def patches() -> dict[str, Any]:
    return {
        "find": ("tasks.nightly.plan.write_atomically", die_after(write_atomically)),
        "count": ("tasks.nightly.count.follow", die),
        "counted": ("tasks.nightly.tasks.write_outcomes", die),
        "remember": ("tasks.ledger.ledger.Ledger._insert", die_half_way()),
        "report": ("tasks.nightly.tasks._publish", die),
        "tell": ("tasks.nightly.tell.tell", die),
    }


if __name__ == "__main__":
    target, replacement = patches()[sys.argv.pop(1)]
    with mock.patch(target, replacement):
        sys.exit(run(nightly_count, NightParameters, "nightly_count"))
