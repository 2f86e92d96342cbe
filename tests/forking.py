"""Forks processes that run ``python -m module``, and have what flows import, which takes longer than many a flow does.

A process that is forked is otherwise as one that was started: it has its own modules, ends as they do, can be killed.
They are forked by a server, ``python -m tests.forking``, which has no threads, and imports what is asked for most. Each
line of its input is JSON: a command to start, which is answered by its process's number, or a process to ask after or
to wait for, which is answered by how it ended.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from tests.installation import ROOT, Installation, own_variables

IMPORTED = ("flows.full_pipeline", "flows.debug_report", "flows.teardown", "sagemaker.core.resources", "fastapi")


class Forked:
    """A process of a command, as far as tests use those of `subprocess`."""

    def __init__(self, pid: int, stdout: TextIO) -> None:
        self.pid, self.stdout = pid, stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self.returncode is None:
            self.returncode = _answer(poll=self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait until it ends; returns what it printed since the last line that was read."""
        with self.stdout:
            said = self.stdout.read()
        if self.returncode is None:
            self.returncode = _answer(wait=self.pid)
        return said, None


def fork(variables: Mapping[str, str], module: str, *arguments: str) -> Forked:
    """Start ``python -m module``; its output is one stream."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        os.mkfifo(said)
        pid = _answer(module=module, arguments=arguments, variables=dict(variables), said=str(said))
        assert pid
        return Forked(pid, said.open())


class Commands:
    """Starts and runs an installation's commands as it does itself, in processes that need import nothing."""

    def __init__(self, installation: Installation) -> None:
        self.installation, self.home = installation, installation.home

    def start(self, module: str, *arguments: str) -> Forked:
        """Start ``python -m module``; its output is one stream."""
        return fork(self.installation.environment, module, *arguments)

    def run(self, module: str, *arguments: str, code: int = 0) -> str:
        """Run ``python -m module`` to its end and return what it printed; it must exit with ``code``."""
        process = self.start(module, *arguments)
        said, _ = process.communicate()
        assert process.returncode == code, said
        return said


def _answer(**wanted: object) -> int | None:
    server = _server()
    assert server.stdin
    assert server.stdout
    print(json.dumps(wanted), file=server.stdin, flush=True)
    answer: int | None = json.loads(server.stdout.readline())
    return answer


@cache
def _server() -> subprocess.Popen[str]:
    """It ends when this process does."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.forking"],
        cwd=ROOT,
        env=own_variables() | {"COLUMNS": "120"},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _serve() -> dict[str, Any] | None:
    """Answer until the input ends; in each forked process, return what it is to do."""
    answers = os.dup(1)
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        answer: int | None
        if "wait" in wanted:
            answer = os.waitstatus_to_exitcode(os.waitpid(wanted["wait"], 0)[1])
        elif "poll" in wanted:
            ended, status = os.waitpid(wanted["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        elif not (answer := os.fork()):
            os.close(answers)
            return wanted
        os.write(answers, f"{json.dumps(answer)}\n".encode())
    return None


def _become(wanted: dict[str, Any]) -> None:
    """Make of this process one that was started for the command: its variables, its arguments, its streams."""
    from prefect.context import refresh_global_settings_context

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(wanted["said"], os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.close(said)
    os.environ.clear()
    os.environ.update(wanted["variables"])
    refresh_global_settings_context()  # Prefect has read other variables
    sys.argv = [wanted["module"], *wanted["arguments"]]
    sys.modules.pop(wanted["module"], None)  # it is run, not imported


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    if todo := _serve():
        _become(todo)
        runpy.run_module(todo["module"], run_name="__main__", alter_sys=True)
