"""One run: its id, its folder, and its memory of what was done.

A run that died, or failed, is picked up by the next start of the same flow with the same parameters. The
kernel drops the lock of a killed process, which is how a dead run is told from one that is under way.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.atomic_file import write_atomically
from tasks.settings import Settings

log = logging.getLogger(__name__)


def digest_of(value: Any) -> str:
    """Eight hexadecimal digits that stand for any JSON-like value."""
    canonical = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


class Run:
    """A run's folder ``<home>/runs/<run_id>``: ``run.json`` has its state, ``summary.json`` its results."""

    def __init__(self, folder: Path, state: dict[str, Any], lock: int) -> None:
        self.folder, self._state, self._lock = folder, state, lock
        self.run_id = folder.name
        self.resumed = self._summary_file.exists()
        self.summary: dict[str, Any] = json.loads(self._summary_file.read_text()) if self.resumed else {}

    @property
    def _summary_file(self) -> Path:
        return self.folder / "summary.json"

    @classmethod
    def open(cls, settings: Settings, flow: str, parameters: BaseModel) -> "Run":
        """Pick up the newest unfinished run of the same flow and parameters, or begin a new one."""
        settings.runs.mkdir(parents=True, exist_ok=True)
        wanted = digest_of([flow, settings.target, parameters.model_dump(mode="json")])
        for folder in sorted(settings.runs.glob("*-*"), reverse=True):
            state = _read_state(folder)
            if state.get("digest") != wanted or state.get("status") == "completed":
                continue
            if (lock := _try_lock(folder)) is not None:
                return cls(folder, state, lock)._begin(settings)
        folder = _new_folder(settings.runs)
        lock = _try_lock(folder)
        if lock is None:
            raise RuntimeError(f"{folder} was just made, and somebody else locked it")
        state = {"flow": flow, "digest": wanted, "parameters": parameters.model_dump(mode="json")}
        return cls(folder, state, lock)._begin(settings)

    def _begin(self, settings: Settings) -> "Run":
        self._set_status("running")
        if not self.resumed:
            self.summary = {
                "run_id": self.run_id,
                "flow": self._state["flow"],
                "target": settings.target,
                "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": 0.0,
                "stages": {},
            }
            self._save()
        latest = self.folder.parent / "latest"
        scratch = latest.with_name(f".latest.{os.getpid()}")
        scratch.symlink_to(self.folder.name)
        scratch.replace(latest)
        return self

    def record(self, **sections: Any) -> None:
        """Add sections to ``summary.json``, at once on disk."""
        self.summary |= sections
        self._save()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; after a resume the seconds of both attempts add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            stages = self.summary["stages"]
            stages[name] = round(stages.get(name, 0.0) + time.perf_counter() - start, 3)
            self.summary["seconds"] = round(sum(stages.values()), 3)
            self._save()

    def finish(self, status: str) -> None:
        """Close the run as ``completed`` or ``failed``; a failed one is picked up by the next start."""
        self._set_status(status)
        os.close(self._lock)

    def _set_status(self, status: str) -> None:
        self._state["status"] = status
        write_atomically(self.folder / "run.json", json.dumps(self._state, indent=2))

    def _save(self) -> None:
        write_atomically(self._summary_file, json.dumps(self.summary, indent=2))


@contextlib.contextmanager
def run_of(settings: Settings, flow: str, parameters: BaseModel) -> Iterator[Run]:
    """A run that ends as completed when the block does, and as failed when the block raises."""
    run = Run.open(settings, flow, parameters)
    try:
        yield run
    except BaseException:
        run.finish("failed")
        raise
    run.finish("completed")


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((folder / "run.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError:
        log.warning("%s is not readable as JSON; the run is left alone", folder / "run.json")
        return {}
    return state


def _try_lock(folder: Path) -> int | None:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _new_folder(runs: Path) -> Path:
    """A folder named by the time, to the second; SageMaker's names for tuning jobs leave 13 characters."""
    while True:
        folder = runs / datetime.now(UTC).strftime("%y%m%d-%H%M%S")
        try:
            folder.mkdir()
        except FileExistsError:
            time.sleep(0.2)
        else:
            return folder
