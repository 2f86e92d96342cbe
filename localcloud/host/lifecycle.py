"""Starts and stops the cloud of a home: ``up``, ``down`` and ``reset``."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from localcloud.errors import LocalCloudError
from localcloud.host.home import STOP_GRACE_SECONDS, Home, State, is_locked

START_SECONDS = 30.0
STOP_SECONDS = 30.0


def up(home: Home, region: str, stop_grace: float = STOP_GRACE_SECONDS) -> State:
    """Start the cloud and wait until it answers; the one that runs already is as good.

    Raises LocalCloudError when it does not come up, or runs in another region.
    """
    home.make()
    with home.exclusively():
        state = home.running()
        if state is None:
            state = _start(home, region, stop_grace)
    if state.region != region:
        raise LocalCloudError(
            f"the cloud in {home.root} runs as region {state.region}, not {region}; "
            "stop it first: python -m localcloud down"
        )
    return state


def _start(home: Home, region: str, stop_grace: float) -> State:
    if home.state.exists():  # the last supervisor was killed
        _sweep(home)
    began = home.supervisor_log.stat().st_size if home.supervisor_log.exists() else 0
    with home.supervisor_log.open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "localcloud.host.supervisor", str(home.root), region, str(stop_grace)],
            env=os.environ | {"PYTHONPATH": _python_path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A process group of its own, so that Ctrl-C does not reach it, but not a session: Linux schedules by
            # session, and a busy machine would then serve S3 a third slower to the terminal that started it.
            process_group=0,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        state = home.running()
        if state is not None:
            return state
        if supervisor.poll() is not None:
            break
        time.sleep(0.02)
    said = home.supervisor_log.read_bytes()[began:].decode(errors="replace").strip()
    with contextlib.suppress(ProcessLookupError):
        supervisor.terminate()
    raise LocalCloudError(f"the cloud did not start: {said or _silent(home)} (logs are in {home.root})")


def _silent(home: Home) -> str:
    """Why there may be nothing in the log."""
    return "the disk is full" if shutil.disk_usage(home.root).free < 2**20 else "no reason given"


def _python_path() -> str:
    parts = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(part for part in parts if part)


def down(home: Home) -> bool:
    """Stop the cloud and every process of it; False when none ran."""
    if not home.root.exists():
        return False
    with home.exclusively():
        ran = is_locked(home.supervisor_lock)
        state = home.running()
        if state is not None:
            _end(home, state)
        _sweep(home)
    return ran


def _end(home: Home, state: State) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(state.supervisor, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while is_locked(home.supervisor_lock):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.supervisor, signal.SIGKILL)
            deadline = time.monotonic() + 5
        time.sleep(0.02)


def _sweep(home: Home) -> None:
    """End what a killed supervisor left behind."""
    from localcloud.host.processes import kill_marked

    kill_marked(home.root)


def reset(home: Home) -> None:
    """Stop the cloud and delete its state folder."""
    if home.root.exists() and not home.keys.exists() and any(home.root.iterdir()):
        raise LocalCloudError(f"{home.root} does not look like a localcloud state folder; nothing was deleted")
    down(home)
    if home.root.exists():
        shutil.rmtree(home.root)
