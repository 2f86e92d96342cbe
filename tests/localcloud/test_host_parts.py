"""What holds jobs together, each part by itself: shims, locks and workers."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from localcloud import logs
from localcloud.host import supervisor, workers
from localcloud.host.processes import Processes, ProcessSpec, kill_marked
from localcloud.host.shim import Log
from localcloud.host.workers import Workers
from tests.localcloud.hosting import wait_until


def sh(script: str, folder: Path) -> ProcessSpec:
    return ProcessSpec(["/bin/sh", "-c", script], dict(os.environ), folder)


def test_a_job_ends_with_its_cloud_even_where_nobody_has_reaped_that(tmp_path: Path) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    process = Processes(owner.pid).start(tmp_path / "process", sh("sleep 600", tmp_path))
    wait_until((tmp_path / "process" / "pid.json").exists)
    owner.kill()  # and stays a zombie until the end
    end = process.wait(10)
    owner.wait()
    assert end is not None
    assert end.reason == "abandoned"


def test_the_end_of_a_command_that_ends_at_once_is_seen(tmp_path: Path) -> None:
    processes = [Processes(os.getpid()).start(tmp_path / str(number), sh("exit 3", tmp_path)) for number in range(20)]
    for process in processes:
        end = process.wait(10)
        assert end is not None
        assert (end.code, end.reason) == (3, "exited")


def test_a_log_with_half_a_line_is_gone_on_with(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"t": 1, "m": "before"}\n{"t": 1')
    Processes(os.getpid()).start(tmp_path, sh("echo after", tmp_path)).wait(10)
    assert [event.message for event in logs.read(log)] == ["before", "after"]


def test_a_full_disk_costs_a_job_its_output_and_not_its_end(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    end = Processes(os.getpid()).start(tmp_path, sh("echo lost; exit 3", tmp_path)).wait(10)
    assert end is not None
    assert (end.code, end.reason) == (3, "exited")


def test_output_that_a_full_disk_did_not_take_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "log.jsonl")
    with Path("/dev/full").open("ab", buffering=0) as full, monkeypatch.context() as patch:
        patch.setattr(log, "_file", full)
        log.feed(b"lost\n")
    log.feed(b"kept\n")
    log.close()
    said = [event.message for event in logs.read(tmp_path / "log.jsonl")]
    assert said == ["[output is missing here: No space left on device]", "kept"]


def test_what_was_started_for_another_folder_is_not_killed(tmp_path: Path) -> None:
    tenth = Processes(os.getpid()).start(tmp_path / "instance-10", sh("sleep 600", tmp_path))
    wait_until((tmp_path / "instance-10" / "pid.json").exists)
    assert kill_marked(tmp_path / "instance-1") == 0
    assert tenth.running
    assert kill_marked(tmp_path) > 0
    tenth.wait(10)


def test_a_supervisor_starts_while_up_looks_at_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = []
    monkeypatch.setattr(supervisor.Supervisor, "__init__", lambda *_: None)
    monkeypatch.setattr(supervisor.Supervisor, "run", lambda _: began.append(time.monotonic()))
    monkeypatch.setattr(sys, "argv", ["supervisor", str(tmp_path), "us-east-1", "1"])
    with (tmp_path / "supervisor.lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.2, looking.close).start()
        assert supervisor.main() == 0
    assert began


def test_a_worker_waits_for_the_one_that_has_its_name() -> None:
    """A job that is created again under its name begins once the earlier one has cleared up."""
    some, done = Workers(), []
    gate = threading.Event()
    some.start("job", lambda: done.append(gate.wait(10)))
    some.start("job", done.append, "again")
    gate.set()
    some.stop()
    assert done == [True, "again"]


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
