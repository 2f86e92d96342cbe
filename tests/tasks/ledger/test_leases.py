"""Only one at a time: leases."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.ledger import leases
from tasks.ledger.leases import acquire, held, lease, release
from tasks.ledger.ledger import Ledger
from tests.installation import ROOT
from training.errors import LeaseError


def test_one_has_it_until_it_is_given_back(ledger: Ledger) -> None:
    assert acquire(ledger, "review/1", "ann", 60)
    assert not acquire(ledger, "review/1", "bob", 60)
    assert acquire(ledger, "review/2", "bob", 60)
    assert acquire(ledger, "review/1", "ann", 60)  # longer
    assert held(ledger, "review/") == {"review/1": "ann", "review/2": "bob"}
    release(ledger, "review/1", "bob")  # not bob's to give
    assert not acquire(ledger, "review/1", "bob", 60)
    release(ledger, "review/1", "ann")
    assert acquire(ledger, "review/1", "bob", 60)


def test_one_that_ran_out_is_free(ledger: Ledger) -> None:
    assert acquire(ledger, "night", "elsewhere", 0.05)
    time.sleep(0.1)
    assert held(ledger, "night") == {}
    assert acquire(ledger, "night", "here", 60)


def test_of_many_that_ask_at_once_one_gets_it(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda n: acquire(ledger, "night", f"holder {n}", 60), range(8))) == 1


@pytest.mark.parametrize("purpose", ["", "s3://bins/hall 1/", "s3://bins/" + "long/" * 99])
def test_others_are_told_what_it_is_held_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, purpose: str) -> None:
    with lease(ledger, "night", 0, purpose):
        monkeypatch.setattr(leases, "this_process", lambda: "process elsewhere 7 9")
        with pytest.raises(LeaseError) as refused, lease(ledger, "night", 0):
            pass
    said = refused.value.purpose
    assert (said == purpose) or (purpose.startswith(said) and len(said) > 200)
    assert said in str(refused.value)
    assert held(ledger, "night") == {}


def test_a_killed_holder_does_not_keep_others_waiting_and_a_live_one_does_though_the_clock_is_set(
    ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""
import os
from sqlalchemy import make_url
from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.ledger.leases import lease
with lease(Ledger(open_engine(make_url({url!r}))), "night", 0, "s3://bins/"):
    print("holding", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "holding\n"
        with (
            pytest.raises(LeaseError, match=f"night.*{holder.pid} .* s3://bins/"),
            lease(ledger, "night", wait_seconds=0),
        ):
            pass
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 0.0)  # all that a clock that is set changes
        assert not acquire(ledger, "night", "another", 60)
        holder.kill()
        holder.wait()
    with lease(ledger, "night", wait_seconds=0):
        pass
    assert held(ledger, "night") == {}
