"""Work for chunk processes to do in tests; light to import, as each of them imports it."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from training.errors import SourceError


@dataclass(frozen=True)
class Part:
    of: int = 2


class OddError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


hoarded: list[bytes] = []


def hoard(size: int) -> int:
    """Keep so many bytes for ever, as a heap full of small holes does."""
    hoarded.append(b"x" * size)
    return os.getpid()


def whoami(_: Part) -> int:
    return os.getpid()


def linger(_: Part) -> int:
    """Work so long that others begin meanwhile."""
    time.sleep(0.5)
    return os.getpid()


def refuse(_: Part, what: str) -> None:
    raise SourceError(f"no access to {what}")


def be_odd(_: Part) -> None:
    raise OddError(1, 2)


def die(_: Part) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def chatter(_: Part) -> str:
    print("this is no answer")
    return "an answer"


def work_long(_: Part, started: Path) -> None:
    started.write_text(str(os.getpid()))
    time.sleep(60)
