"""A program that goes on in the background after its starter has ended, and can be found and stopped again."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tasks.home import explain_home_errors
from training.errors import HomeError

STOP_SECONDS = 15


@dataclass(frozen=True)
class Daemon:
    """What is known of a background program, in a small file.

    Attributes:
        state: the file; it holds the process's number and whatever its starter wants to find again.
        word: stands alone in the program's command line; tells it from another one that got its number.
    """

    state: Path
    word: str

    @property
    def log(self) -> Path:
        """Where the program's output goes."""
        return self.state.with_suffix(".log")

    def start(
        self, command: list[str], environment: dict[str, str], folder: Path | None = None, **facts: str
    ) -> subprocess.Popen[bytes]:
        """Start the program in a session of its own; ``facts`` are kept beside its number.

        Raises:
            HomeError: the state's folder cannot be made or written to, or the disk is full.
        """
        with explain_home_errors(self.state.parent):
            self.state.parent.mkdir(parents=True, exist_ok=True)
            output = self.log.open("ab")
        with output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        # Written before the program is ready, so that a caller killed meanwhile leaves a trace to stop it by.
        try:
            with explain_home_errors(self.state.parent):
                self.state.write_text(json.dumps({**facts, "pid": process.pid}))
        except HomeError:
            process.kill()  # nobody would find it again
            raise
        return process

    def facts(self) -> dict[str, Any]:
        """What its starter kept; empty when there is nothing readable."""
        try:
            found: dict[str, Any] = json.loads(self.state.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def process(self) -> psutil.Process | None:
        """The program's process; None when it is gone, also when its number now belongs to another program."""
        try:
            process = psutil.Process(int(self.facts()["pid"]))
            return process if self.word in process.cmdline() else None
        except (KeyError, ValueError, psutil.NoSuchProcess, psutil.ZombieProcess):
            return None

    def stop(self) -> None:
        """Stop the program and everything that it started; its log stays."""
        leader = self.process()
        if leader is not None:
            family = [leader, *leader.children(recursive=True)]
            leader.terminate()
            _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
            for process in alive:
                process.kill()
        self.state.unlink(missing_ok=True)


def clean_environment() -> dict[str, str]:
    """Our own environment without Prefect's variables, which speak of this process only."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
