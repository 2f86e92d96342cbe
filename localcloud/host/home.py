"""The state folder: where everything is kept, and what is known about the running cloud."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from localcloud.errors import LocalCloudError

ACCOUNT = "000000000000"
DEFAULT_REGION = "us-east-1"
STOP_GRACE_SECONDS = 120.0  # AWS: SIGTERM to a training job, then SIGKILL 120 seconds later


def default_home() -> Path:
    """``$BINVENTORY_HOME/localcloud``, or ``.binventory/localcloud`` here."""
    return Path(os.environ.get("BINVENTORY_HOME", ".binventory")).absolute() / "localcloud"


@dataclass(frozen=True)
class State:
    """What the supervisor publishes once the cloud answers."""

    supervisor: int
    service: int
    rclone: int
    s3_port: int
    service_port: int
    region: str
    s3_faults: int = 0

    @property
    def s3_endpoint(self) -> str:
        """The address of S3."""
        return f"http://127.0.0.1:{self.s3_port}"

    @property
    def service_endpoint(self) -> str:
        """The address of everything else."""
        return f"http://127.0.0.1:{self.service_port}"


class Home:
    """Paths in the state folder, and its two locks."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.keys = self.root / "keys.json"
        self.state = self.root / "state.json"
        self.ports = self.root / "ports.json"
        self.database = self.root / "resources.sqlite3"
        self.buckets = self.root / "s3"
        self.jobs = self.root / "jobs"
        self.logs = self.root / "logs"
        self.s3_faults = self.root / "s3_faults.json"
        self.journal = self.root / "journal.jsonl"
        self.supervisor_log = self.root / "supervisor.log"
        self.service_log = self.root / "service.log"
        self.rclone_log = self.root / "rclone.log"
        self.supervisor_lock = self.root / "supervisor.lock"

    def make(self) -> None:
        """Create the folders, closed to other users."""
        with self.explained():
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.buckets, self.jobs, self.logs):
                folder.mkdir(exist_ok=True, mode=0o700)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say what is wrong with the state folder, and what to do, where it cannot be made, opened or written."""
        try:
            yield
        except OSError as error:
            raise LocalCloudError(
                f"{error.filename or self.root} cannot be used ({error.strerror}); choose another state folder with "
                "--home or BINVENTORY_HOME, or change this one's permissions"
            ) from error

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Let one command at a time start or stop the cloud; others wait."""
        with self.explained():
            file = (self.root / "command.lock").open("w")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def running(self) -> State | None:
        """What runs now; None when no supervisor holds its lock or it has not got ready yet."""
        with self.explained():
            if not is_locked(self.supervisor_lock):
                return None
            try:
                return State(**json.loads(self.state.read_text()))
            except FileNotFoundError:
                return None

    def publish(self, state: State) -> None:
        """Write the state so that a reader sees all of it or the one before."""
        write_json(self.state, asdict(state))


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file in one step; only the owner can read it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    partial.replace(path)


def is_locked(path: Path) -> bool:
    """Whether another process holds a lock file."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    return False
