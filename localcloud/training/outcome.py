"""How a training job ended, from how its processes did."""

import sys
from dataclasses import dataclass

from localcloud import logs
from localcloud.host.processes import ExitStatus, Process
from localcloud.training.container import Container

MAX_MESSAGE = 800


@dataclass(frozen=True)
class Outcome:
    """The last status of a job, its secondary status where it differs, and the reason of a failure."""

    status: str
    secondary: str | None = None
    reason: str | None = None


def judge(processes: list[Process], containers: list[Container], ending: str | None) -> Outcome:
    """The outcome, given why the job was told to stop, if it was."""
    if ending == "Interrupted":
        return Outcome("Interrupted")
    if ending == "Stopped":
        return Outcome("Stopped")
    if ending is not None:
        return Outcome("Stopped", ending)
    statuses = [process.exit_status or ExitStatus(None, "lost", 0.0) for process in processes]
    for status, process, container in zip(statuses, processes, containers, strict=True):
        if status.reason == "exited" and status.code != 0:
            return Outcome("Failed", reason=_algorithm_error(status, process, container))
    for status in statuses:
        if status.reason != "exited":
            return Outcome("Failed", reason=_lost(status))
    return Outcome("Completed")


def _algorithm_error(status: ExitStatus, process: Process, container: Container) -> str:
    code = status.code or 0
    shown = code if code >= 0 else 128 - code  # as a container reports a signal
    try:
        said = container.failure.read_bytes()[: MAX_MESSAGE * 4].decode("utf-8", "replace")[:MAX_MESSAGE]
    except (FileNotFoundError, IsADirectoryError):
        said = f'ExecuteUserScriptError:\nExitCode {shown}\nErrorMessage "{_last_words(process)}"'
        said += f'\nCommand "{sys.executable}"'
    return f"AlgorithmError: {said}, exit code: {shown}"


def _last_words(process: Process) -> str:
    """The end of the log from the last traceback on, or its last line."""
    lines = [event.message for event in logs.read(process.log)][-200:]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    words = "\n".join(lines[starts[-1] :] if starts else lines[-1:])
    return words[-MAX_MESSAGE // 2 :]


def _lost(status: ExitStatus) -> str:
    if status.reason == "unstartable":
        return "ClientError: the command of the job cannot be started; its log says why"
    return (
        "InternalServerError: the processes of the job were ended from outside: by `localcloud down`, by a crash, "
        "by kill, or by a disk that stayed full. Start the job again; with a CheckpointConfig it goes on from its "
        "checkpoints."
    )
