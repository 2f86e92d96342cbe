"""Starts commands under a shim, finds them again after a crash, stops them, and reads how they ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from localcloud.host import shim
from localcloud.host.home import is_locked

MARKER = "LOCALCLOUD_PROCESS"

# Several commands share this machine's cores. OpenMP's threads, torch's among them, by default burn a core while
# they wait for each other, which made training six times slower beside other work.
_SHARED_CORES = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class ProcessSpec:
    """A command to run. ``environment`` is the whole of it; nothing is inherited."""

    argv: list[str]
    environment: dict[str, str]
    cwd: Path
    grace_seconds: float = 120.0


@dataclass(frozen=True)
class ExitStatus:
    """How a command ended.

    ``code`` is negative for a signal, None when nobody saw the end. ``reason`` is one of ``exited``,
    ``stopped`` (asked to, by SIGTERM), ``killed``, ``abandoned`` (the cloud died), ``unstartable``, ``lost``
    (the shim was killed).
    """

    code: int | None
    reason: str
    at: float

    def describe(self) -> str:
        """The end in words."""
        if self.code is None:
            return "ended without an exit code"
        if self.code < 0:
            return f"was killed by {signal.Signals(-self.code).name}"
        return f"exited with code {self.code}"


class Process:
    """One supervised command, known by its folder."""

    def __init__(self, folder: Path, popen: "subprocess.Popen[bytes] | None" = None) -> None:
        self.folder = folder
        self._popen = popen

    @property
    def log(self) -> Path:
        """Its output: one JSON object a line, ``t`` in milliseconds and ``m``."""
        return self.folder / "log.jsonl"

    @property
    def running(self) -> bool:
        """Whether the command, or its shim, still lives."""
        if self._popen is not None:
            return self._popen.poll() is None
        return is_locked(self.folder / "lock")

    @property
    def exit_status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        if self.running:
            return None
        try:
            return ExitStatus(**json.loads((self.folder / "exit.json").read_text()))
        except FileNotFoundError:
            kill_marked(self.folder)
            return ExitStatus(None, "lost", time.time())

    def wait(self, timeout: float) -> ExitStatus | None:
        """Wait up to a number of seconds for the end; None when it still runs then."""
        deadline = time.monotonic() + timeout
        if self._popen is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        while self.running and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.exit_status

    def stop(self) -> None:
        """Ask it to end by SIGTERM; it is killed after its grace period."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and all its descendants now."""
        self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        pid = self._popen.pid if self._popen is not None else self._shim_pid()
        if pid is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _shim_pid(self) -> int | None:
        try:
            return int(json.loads((self.folder / "pid.json").read_text())["shim"])
        except FileNotFoundError:
            return None


class Processes:
    """Starts and finds supervised commands. They die when the process ``owner`` does."""

    def __init__(self, owner: int) -> None:
        self.owner = owner

    def start(self, folder: Path, spec: ProcessSpec) -> Process:
        """Run a command; its lock, log and end are kept in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in ("exit.json", "pid.json"):
            (folder / leftover).unlink(missing_ok=True)
        command = [sys.executable, "-I", "-S", shim.__file__, str(folder), str(spec.grace_seconds)]
        popen = subprocess.Popen(
            [*command, str(self.owner), *spec.argv],
            cwd=spec.cwd,
            env=_SHARED_CORES | spec.environment | {MARKER: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return Process(folder, popen)

    def find(self, folder: Path) -> Process | None:
        """The command that was started in a folder, running or ended; None when none ever was."""
        for _ in range(100):
            if (folder / "pid.json").exists() or (folder / "exit.json").exists():
                return Process(folder)
            if not is_locked(folder / "lock"):
                return None
            time.sleep(0.02)
        return Process(folder)

    def end(self, folders: Iterable[Path]) -> None:
        """Kill the commands that were started in these folders, and wait until they are gone."""
        found = [process for process in map(self.find, folders) if process is not None]
        for process in found:
            process.kill()
        for process in found:
            process.wait(10)


def kill_marked(folder: Path) -> int:
    """Kill every process that was started for a folder, or for one below it; returns how many there were."""
    count = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if f"{process.environ().get(MARKER, '')}{os.sep}".startswith(f"{folder}{os.sep}"):
                process.kill()
                count += 1
    return count
