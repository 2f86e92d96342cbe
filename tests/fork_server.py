"""Forks processes that run ``python -m module``, and have what flows import, which takes longer than many a flow does.

Each line of standard input is JSON: a command to start, which is answered by its process's number, or a process to wait
for, which is answered by how it ended. A process that is forked is otherwise as one that was started: it has its own
modules, ends as they do, and can be killed.
"""

import importlib
import json
import os
import runpy
import sys
from typing import Any

IMPORTED = ("flows.full_pipeline", "flows.debug_report", "flows.teardown", "sagemaker.core.resources")


def become(wanted: dict[str, Any], answers: int) -> None:
    """Make of this process one that was started for the command: its variables, its arguments, its streams."""
    os.close(answers)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(wanted["said"], os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.close(said)
    os.environ.clear()
    os.environ.update(wanted["variables"])
    sys.argv = [wanted["module"], *wanted["arguments"]]
    sys.modules.pop(wanted["module"], None)  # it is run, not imported


def serve() -> dict[str, Any] | None:
    """Answer until the input ends; in each forked process, return what it is to do."""
    answers = os.dup(1)
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        if "wait" in wanted:
            _, status = os.waitpid(wanted["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif answer := os.fork():
            pass
        else:
            become(wanted, answers)
            return wanted
        os.write(answers, f"{answer}\n".encode())
    return None


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    if todo := serve():
        runpy.run_module(todo["module"], run_name="__main__", alter_sys=True)
