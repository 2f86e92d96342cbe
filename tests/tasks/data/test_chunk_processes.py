"""Chunks in processes of their own: answers and errors come back, and nobody outlives the run."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import psutil
import pytest

from tasks.data.chunk_processes import apart, aside, chunk_processes, make_room
from tasks.data.workspace import Workspace
from tasks.transient import is_transient
from tests.tasks.data.parts_of_work import Part, be_odd, chatter, die, hoard, linger, refuse, whoami
from training.errors import SourceError, WorkerError, WorkspaceError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def processes() -> Iterator[None]:
    before = set(psutil.Process().children())  # a library's helper process, say
    with tempfile.TemporaryFile() as lock, chunk_processes(lock.fileno()):
        yield
    assert set(psutil.Process().children()) - before == set()


@pytest.mark.usefixtures("processes")
def test_a_part_is_done_in_another_process_which_stays_and_a_lone_one_here() -> None:
    assert apart(whoami, Part()) == apart(whoami, Part()) != os.getpid()
    assert apart(whoami, Part(of=1)) == os.getpid()
    assert aside(whoami, Part(of=1)) == apart(whoami, Part())


@pytest.mark.usefixtures("processes")
def test_a_worker_that_has_grown_gives_way_to_a_new_one_and_its_answer_counts() -> None:
    small = aside(whoami, Part())
    assert aside(hoard, 300 * 2**20) == small
    assert not psutil.pid_exists(small)
    with pytest.raises(SourceError, match="no access to the bucket"):
        aside(refuse, Part(), "the bucket")
    assert aside(whoami, Part()) != small


@pytest.mark.usefixtures("processes")
def test_to_make_room_idle_workers_end_but_for_one() -> None:
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(copy_context().run, lambda: apart(linger, Part())) for _ in range(2)]
    pids = {each.result() for each in both}
    assert len(pids) == 2
    make_room()
    [left] = [pid for pid in pids if psutil.pid_exists(pid)]
    assert apart(whoami, Part()) == left


def test_without_processes_everything_is_done_here() -> None:
    assert apart(whoami, Part()) == aside(whoami, Part()) == os.getpid()


@pytest.mark.usefixtures("processes")
def test_errors_come_back_as_they_were_raised() -> None:
    with pytest.raises(SourceError, match="no access") as caught:
        apart(refuse, Part(), "the bucket")
    assert str(caught.value) == "no access to the bucket"
    assert "in refuse" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match=r"OddError: 1 and 2"):
        apart(be_odd, Part())
    assert apart(chatter, Part()) == "an answer"


@pytest.mark.usefixtures("processes")
def test_a_worker_that_dies_is_said_to_have_died_and_another_takes_its_place() -> None:
    with pytest.raises(WorkerError, match=r"die died \(exit code -9\)") as caught:
        apart(die, Part())
    assert is_transient(caught.value)
    assert apart(whoami, Part()) != os.getpid()


def test_workers_of_a_killed_run_end_and_only_then_may_another_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.data.workspace.PATIENCE_SECONDS", 1.0)
    started = tmp_path / "started"
    code = f"""
import sys
from pathlib import Path
from tasks.data.chunk_processes import apart, chunk_processes
from tasks.data.workspace import Workspace
from tests.tasks.data.parts_of_work import Part, work_long
with Workspace(Path({str(tmp_path)!r})).in_use() as lock, chunk_processes(lock):
    apart(work_long, Part(), Path({str(started)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as run:
        worker = psutil.Process(int(_when_there(started)))
        worker.suspend()  # as if the machine were too busy to let it end
        _until(lambda: worker.status() == psutil.STATUS_STOPPED, "the worker did not stop")
        run.kill()
        run.wait()
        with pytest.raises(WorkspaceError, match="Another run is preparing"), Workspace(tmp_path).in_use():
            pass
        worker.resume()
        worker.wait(timeout=10)
    with Workspace(tmp_path).in_use():
        pass


def _when_there(path: Path) -> str:
    _until(lambda: path.exists() and path.read_text() != "", f"{path} did not appear")
    return path.read_text()


def _until(holds: Callable[[], bool], failure: str) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise TimeoutError(failure)
