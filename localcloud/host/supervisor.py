"""The process that holds the cloud together: ``python -m localcloud.host.supervisor HOME REGION STOP_GRACE``.

It keeps rclone and the service running, starting them again when they die, and adopts the jobs of a service
that was killed. It owns the service's listening socket, so that a client that calls while the service starts
again waits instead of being refused. When it ends, or is killed, everything ends.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from localcloud.host import shim
from localcloud.host.home import Home, State, write_json
from localcloud.host.keys import load_or_make
from localcloud.host.processes import MARKER
from localcloud.host.s3_server import S3Server

TICK_SECONDS = 0.2
PATIENCE_SECONDS = 20.0
GIVE_UP_AFTER = 5


class Supervisor:
    """One cloud, from ready to gone."""

    def __init__(self, home: Home, region: str, stop_grace: str) -> None:
        self.home = home
        self.region = region
        self.stop_grace = stop_grace
        self.keys = load_or_make(home.keys)
        self.stopping = False
        self.bereaved = False
        self.socket = _listen(_remembered(home, "service"))
        self.s3 = S3Server(home, self.keys, _free_port(_remembered(home, "s3")), _free_port)
        self.service: subprocess.Popen[bytes] | None = None
        self.quick_deaths = 0
        self.started_at = 0.0

    def run(self) -> None:
        """Start everything, say so, keep it running until SIGTERM, and end it."""
        shim.become_subreaper()
        os.environ[MARKER] = str(self.home.root / "cloud")  # by which `down` finds what a killed supervisor left
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, self._on_term)
        signal.signal(signal.SIGCHLD, self._on_child)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of the terminal that started it
        write_json(self.home.ports, {"s3": self.s3.port, "service": self.socket.getsockname()[1]})
        try:
            self.s3.start()
            self._start_service()
            self._wait_until_ready()
            self._publish()
            while not self.stopping:
                time.sleep(TICK_SECONDS)
                self._tend()
        finally:
            self._end()

    def _on_term(self, *_: object) -> None:
        self.stopping = True

    def _on_child(self, *_: object) -> None:
        self.bereaved = True

    def _start_service(self) -> None:
        self.started_at = time.monotonic()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        }
        arguments = [str(self.home.root), str(self.socket.fileno()), str(self.s3.port), self.region, self.stop_grace]
        with self.home.service_log.open("ab") as log:
            self.service = subprocess.Popen(
                [sys.executable, "-m", "localcloud.api.service", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[self.socket.fileno()],
                preexec_fn=shim.die_with_parent,  # this process has one thread
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not self.stopping:
            if self.service is not None and self.service.poll() is not None:
                raise RuntimeError(f"the service ended at once; see {self.home.service_log}")
            if self.s3.answers() and self._service_answers():
                return
            time.sleep(0.02)
        if not self.stopping:
            raise RuntimeError(f"the cloud was not ready within {PATIENCE_SECONDS:.0f} s; see {self.home.root}")

    def _service_answers(self) -> bool:
        # The socket listens before the service does, so ask for an answer, with little patience.
        try:
            with socket.create_connection(self.socket.getsockname(), timeout=5) as connection:
                connection.sendall(b"GET /_localcloud/health HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return connection.recv(16).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def _publish(self) -> None:
        service = self.service.pid if self.service is not None else 0
        port = int(self.socket.getsockname()[1])
        self.home.publish(State(os.getpid(), service, self.s3.pid, self.s3.port, port, self.region, self.s3.faults))

    def _tend(self) -> None:
        changed = self.s3.tend()
        if self.service is not None and self.service.poll() is not None:
            _say(f"the service ended with {self.service.returncode}; starting it again")
            lived = time.monotonic() - self.started_at
            self.quick_deaths = self.quick_deaths + 1 if lived < PATIENCE_SECONDS else 0
            if self.quick_deaths >= GIVE_UP_AFTER:
                raise RuntimeError(f"the service keeps dying; see {self.home.service_log}")
            self._start_service()
            changed = True
        if changed:
            self._publish()
        if self.bereaved:  # looking for children reads all of /proc: not on every tick of an idle cloud
            self.bereaved = False
            self._reap_orphans()

    def _reap_orphans(self) -> None:
        # Jobs of a killed service become our children; collect them, and leave our own to Popen.
        own = {self.service.pid if self.service else 0, *self.s3.pids}
        for pid in shim.children(os.getpid()):
            if pid not in own:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _end(self) -> None:
        self.home.state.unlink(missing_ok=True)
        if self.service is not None:
            self.service.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.service.wait(15)
        self.s3.stop()
        deadline = time.monotonic() + 5
        while (left := shim.descendants(os.getpid())) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap_orphans()
            time.sleep(0.01)
        self.socket.close()


def _remembered(home: Home, name: str) -> int:
    try:
        return int(json.loads(home.ports.read_text())[name])
    except (FileNotFoundError, KeyError, ValueError):
        return 0


def _listen(port: int) -> socket.socket:
    """A listening socket on the port that was used last time, or on any when that is taken."""
    for candidate in (port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
        except OSError:
            listener.close()
            continue
        listener.listen(512)
        return listener
    raise RuntimeError("no port on 127.0.0.1 can be listened on")


def _free_port(port: int) -> int:
    with _listen(port) as listener:
        return int(listener.getsockname()[1])


def _say(message: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), message, flush=True)


def main() -> int:
    """Run the supervisor of a home, unless one runs already."""
    home, region, stop_grace = Home(Path(sys.argv[1])), sys.argv[2], sys.argv[3]
    home.make()
    with home.supervisor_lock.open("w") as lock:
        if not shim.lock(lock):
            _say("another supervisor runs this home")
            return 0
        home.state.unlink(missing_ok=True)
        try:
            Supervisor(home, region, stop_grace).run()
        except RuntimeError as error:
            _say(str(error))
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
