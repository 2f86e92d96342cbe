"""Runs one command as a container would: ``shim.py FOLDER GRACE_SECONDS OWNER_PID COMMAND...``.

It is a process of its own so that a job outlives a crash of the service and its end is recorded all the same.
It stands between the command and the cloud: takes the command's output to ``FOLDER/log.jsonl`` line by line,
keeps ``FOLDER/lock`` locked as long as it lives, and writes ``FOLDER/exit.json`` at the end. SIGTERM asks the
command to stop and kills it after the grace period; SIGUSR1 kills it at once; when the owner dies everything
is killed. No descendant of the command survives it. It uses the standard library only, and imports nothing of
this package, so that it starts in milliseconds.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TextIO

MAX_LINE_BYTES = 256 * 1024
MAX_LOG_BYTES = 512 * 1024 * 1024
FULL_DISK_SECONDS = 60
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Log:
    """Turns a stream of bytes into one JSON object a line: ``t`` in milliseconds, ``m`` the text."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._room = MAX_LOG_BYTES - self._file.tell()
        self._ready = b"" if ends_whole(path) else b"\n"
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Add output; whole lines are written, the last part waits for its end."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._write(line)
        while len(self._rest) > MAX_LINE_BYTES:
            self._write(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        self._flush()

    def close(self) -> None:
        """Write what is left."""
        if self._rest:
            self._write(self._rest)
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        """Write the lines that are ready. What a full disk does not take is lost: the command goes on without it."""
        try:
            while self._ready:
                self._ready = self._ready[self._file.write(self._ready) or 0 :]
        except OSError as error:
            told = {"t": int(time.time() * 1000), "m": f"[output is missing here: {error.strerror}]"}
            self._ready = b"\n" + json.dumps(told).encode() + b"\n"  # after half a line, perhaps, for the next time

    def _write(self, line: bytes) -> None:
        if self._room <= 0:
            return
        for start in range(0, max(len(line), 1), MAX_LINE_BYTES):
            text = line[start : start + MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
            self._append(text)
        if self._room <= 0:
            self._append(f"[the log is longer than {MAX_LOG_BYTES} bytes; the rest of it is not kept]")

    def _append(self, text: str) -> None:
        entry = json.dumps({"t": int(time.time() * 1000), "m": text}).encode() + b"\n"
        self._ready += entry
        self._room -= len(entry)


class Shim:
    """One command and its descendants, from start to end."""

    def __init__(self, folder: Path, grace: float, owner: int) -> None:
        self.folder = folder
        self.grace = grace
        self.owner = owner
        self.reason = "exited"
        self.status: int | None = None
        self.kill_at: float | None = None
        self.log = Log(folder / "log.jsonl")
        self.child = 0
        self.output = -1

    def run(self, command: list[str]) -> None:
        """Run the command until it has ended and nothing of it is left."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGUSR1, self._on_kill)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        waker, wake = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        if self._start(command):
            self._watch(waker)
        self._kill_descendants()
        self._drain(time.monotonic() + 1)
        self.log.close()
        self._record_end()

    def _start(self, command: list[str]) -> bool:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        except OSError as error:
            self.log.feed(f"cannot start {command[0]}: {error}\n".encode())
            self.reason, self.status = "unstartable", 127 << 8
            return False
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        self.child, self.output = process.pid, process.stdout.fileno()
        self._process = process  # a Popen that is let go takes the end of its command along, if that has come already
        os.set_blocking(self.output, False)
        write_atomically(self.folder / "pid.json", {"shim": os.getpid(), "command": self.child})
        return True

    def _watch(self, waker: int) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self.output, selectors.EVENT_READ, "output")
        selector.register(waker, selectors.EVENT_READ, "signal")
        with contextlib.suppress(AttributeError, OSError):
            selector.register(os.pidfd_open(self.owner), selectors.EVENT_READ, "owner")
        while self.status is None:
            for key, _ in selector.select(self._patience()):
                if key.data == "signal":
                    with contextlib.suppress(BlockingIOError):
                        os.read(waker, 4096)
                elif key.data == "owner":  # it has died, though it may be there as a zombie for long
                    selector.unregister(key.fd)
                    self._on_kill(reason="abandoned")
                elif key.data == "output" and not self._read():
                    selector.unregister(self.output)
            self._reap()
            if not alive(self.owner):
                self._on_kill(reason="abandoned")
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                self._kill_descendants()

    def _patience(self) -> float:
        return 1.0 if self.kill_at is None else min(1.0, max(0.0, self.kill_at - time.monotonic()))

    def _read(self) -> bool:
        try:
            chunk = os.read(self.output, 65536)
        except BlockingIOError:
            return True
        self.log.feed(chunk)
        return bool(chunk)

    def _drain(self, deadline: float) -> None:
        if self.output < 0:
            return
        while time.monotonic() < deadline:
            try:
                chunk = os.read(self.output, 65536)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            if not chunk:
                return
            self.log.feed(chunk)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.child:
                    self.status = status

    def _on_stop(self, _signal: int, _frame: FrameType | None) -> None:
        if self.kill_at is None and self.status is None:
            self.reason = "stopped"
            self.kill_at = time.monotonic() + self.grace
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGTERM)

    def _on_kill(self, _signal: int = 0, _frame: FrameType | None = None, reason: str = "killed") -> None:
        self.reason = reason
        self.kill_at = time.monotonic()

    def _kill_descendants(self) -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if self.child:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.child, signal.SIGKILL)
            left = descendants(os.getpid())
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            if not left:
                return
            time.sleep(0.005)

    def _record_end(self) -> None:
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        end: dict[str, object] = {"code": code, "reason": self.reason, "at": time.time()}
        for _ in range(FULL_DISK_SECONDS):
            with contextlib.suppress(OSError):  # a full disk, perhaps; what is not told here, nobody can tell later
                write_atomically(self.folder / "exit.json", end)
                return
            time.sleep(1)


def ends_whole(path: Path) -> bool:
    """Whether a file ends with its last line; a full disk, or a kill, leaves half a line."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return True


def write_atomically(path: Path, content: dict[str, object]) -> None:
    """Write a JSON file so that a reader sees all of it or none."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def alive(pid: int) -> bool:
    """Whether a process of another user's or ours exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _parents(*, zombies: bool) -> dict[int, int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if zombies or state != "Z":
                parents[int(entry.parent.name)] = int(parent)
    return parents


def children(parent: int) -> list[int]:
    """The processes right below one, zombies too; none where there is no /proc."""
    return [pid for pid, its_parent in _parents(zombies=True).items() if its_parent == parent]


def descendants(ancestor: int) -> list[int]:
    """The processes below one, zombies left out; none where there is no /proc."""
    parents = _parents(zombies=False)
    found: list[int] = []
    generation = {ancestor}
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation}
        found.extend(generation)
    return found


def become_subreaper() -> None:
    """Make this process the parent of its descendants' orphans, where the system can."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have this process killed when its parent dies, where the system can; runs between fork and exec."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def lock(file: TextIO, patience: float = 5.0) -> bool:
    """Lock a file until it is closed; False when another process holds it for so many seconds.

    Whoever asks whether it is locked holds it for a moment, so one try is not enough.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def main() -> None:
    """Lock the folder, run the command, record its end."""
    folder, grace, owner, *command = sys.argv[1:]
    file = (Path(folder) / "lock").open("w")
    if not lock(file):
        sys.exit(f"another shim runs in {folder}")
    become_subreaper()
    Shim(Path(folder), float(grace), int(owner)).run(command)


if __name__ == "__main__":
    main()
