"""All runs of an installation: beginning one, and picking one up.

A run that died, or failed, is picked up by the next start of the same flow with the same parameters, or by its id. Not
where the settings say another cloud, bucket or model group than it was begun with, for what it has done lies there. The
kernel drops the lock of a killed process, which is how a dead run is told from one that is under way.
"""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.home import explain_home_errors
from tasks.killed_flow_runs import call_crashed, this_flow_run
from tasks.run_record import Run, digest_of
from tasks.settings import PREFIX, Settings
from training.errors import HomeError, RunError

NEWEST = "newest"

log = logging.getLogger(__name__)
_OVER = ("completed", "partial")
_PLACE = ("target", "region", "bucket", "model_group")
"""The settings that say where what a run does ends up."""
_current: ContextVar[Run | None] = ContextVar("run", default=None)


@contextlib.contextmanager
def run_of(
    settings: Settings,
    flow: str,
    parameters: BaseModel,
    *,
    resume: str | None = None,
    part: str | None = None,
    partial: type[Exception] | None = None,
    check: Callable[[], object] | None = None,
    ending: Callable[[Run], object] | None = None,
) -> Iterator[Run]:
    """A run that ends as completed when the block does, and as failed when the block raises.

    A flow that another one calls has no run of its own: it works in its caller's, or in a part of it.

    Args:
        settings: where runs are.
        flow: name of the flow.
        parameters: of the flow.
        resume: id of a run to pick up, or "newest". Default: the newest unfinished one with the same parameters, else
            a new one.
        part: the folder in a caller's run that this flow has for itself.
        partial: the error that says that everything is done but what this run cannot do: the next start with the same
            parameters is then a run of its own.
        check: raises where a new run could do nothing; asked before there is one.
        ending: what a run of its own does last.

    Raises:
        RunError: there is no run to resume.
    """
    outer = _current.get()
    if outer is not None and part is None:
        yield outer
        return
    if outer is not None:
        run = part_of(outer, settings, flow, parameters, str(part))
    elif resume is not None:
        run = pick_up(settings, flow, resume)
    else:
        run = open_run(settings, flow, parameters, check)
    token = _current.set(run)
    try:
        yield run
        if ending and outer is None:
            ending(run)
    except BaseException as error:
        try:
            run.finish("partial" if partial and isinstance(error, partial) else "failed")
        except HomeError as unsaved:  # as the error itself says, most likely; the run counts as killed
            log.warning("how run %s ended could not be written down: %s", run.run_id, unsaved)
        raise
    finally:
        _current.reset(token)
    run.finish("completed")


def open_run(settings: Settings, flow: str, parameters: BaseModel, check: Callable[[], object] | None = None) -> Run:
    """Pick up the newest unfinished run of the same flow and parameters, or begin a new one if ``check`` lets it.

    Raises:
        HomeError: the folder of runs cannot be made.
    """
    with explain_home_errors(settings.runs):
        settings.runs.mkdir(parents=True, exist_ok=True)
    digest = digest_of([flow, settings.target, parameters.model_dump(mode="json")])
    for folder in run_folders(settings):
        state = read_json(folder / "run.json")
        if state.get("digest") != digest or state.get("status") in _OVER or elsewhere(state, settings):
            continue
        if (lock := _try_lock(folder)) is not None:
            return _begin(Run(folder, folder.name, state, lock), settings)
    if check:
        check()
    folder = _new_folder(settings.runs)
    return _begin(Run(folder, folder.name, _new_state(settings, flow, parameters, digest), _lock(folder)), settings)


def pick_up(settings: Settings, flow: str, run_id: str) -> Run:
    """Pick up a run of a flow that did not complete, by its id, or the newest.

    Raises:
        RunError: there is none, it is complete, it is under way, or it was begun where the settings do not point now.
    """
    if run_id != NEWEST:
        return _pick_up(settings, flow, settings.runs / run_id)
    for folder in run_folders(settings):
        with contextlib.suppress(RunError):
            return _pick_up(settings, flow, folder)
    raise RunError(f"No run of {flow} waits to be picked up in {settings.runs}: start one without --resume.")


def part_of(outer: Run, settings: Settings, flow: str, parameters: BaseModel, name: str) -> Run:
    """A run within another: of the same id, in a folder below that one's."""
    folder = outer.folder / name
    folder.mkdir(exist_ok=True)
    return Run(folder, outer.run_id, _new_state(settings, flow, parameters, ""), _lock(folder)).begin(settings)


def _begin(run: Run, settings: Settings) -> Run:
    run.begin(settings)
    killed, mine = run.flow_run, this_flow_run()
    if killed and mine and killed != mine:  # a flow run that is retried in Prefect is not killed, but here again
        call_crashed(killed, mine)
    run.belongs_to(mine)
    latest = settings.runs / "latest"
    scratch = latest.with_name(f".latest.{os.getpid()}")
    scratch.unlink(missing_ok=True)  # of a process that was killed here, and had the same id
    scratch.symlink_to(run.folder.name)
    scratch.replace(latest)
    return run


def _pick_up(settings: Settings, flow: str, folder: Path) -> Run:
    state = read_json(folder / "run.json")
    if state.get("flow") != flow:
        raise RunError(
            f"{settings.runs} has no run {folder.name} of {flow}: look there for its name; the newest that waits is "
            "taken without one."
        )
    if state.get("status") in _OVER:
        raise RunError(f"The run {folder.name} is over: there is nothing to pick up.")
    if there := elsewhere(state, settings):
        raise RunError(
            f"The run {folder.name} was begun with {as_variables(there)}: set that to pick it up, or start a new run."
        )
    lock = _try_lock(folder)
    if lock is None:
        raise RunError(f"The run {folder.name} is under way in another process.")
    return _begin(Run(folder, folder.name, state, lock), settings)


def run_folders(settings: Settings) -> list[Path]:
    """The folders of all runs, newest first."""
    return sorted(settings.runs.glob("*-*"), reverse=True)


def _new_state(settings: Settings, flow: str, parameters: BaseModel, digest: str) -> dict[str, Any]:
    return {
        "flow": flow,
        **settings.model_dump(include=set(_PLACE)),
        "digest": digest,
        "parameters": parameters.model_dump(mode="json", exclude_unset=True),
    }


def elsewhere(state: dict[str, Any], settings: Settings) -> dict[str, str]:
    """Where a run was begun, as far as that is not where the settings say. Older versions kept its target only."""
    return {name: state[name] for name in _PLACE if name in state and state[name] != getattr(settings, name)}


def as_variables(place: dict[str, str]) -> str:
    """Settings as a person sets them."""
    return " and ".join(f"{PREFIX}{name.upper()}={value}" for name, value in place.items())


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty where there is none that can be read."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError:
        log.warning("%s is not readable as JSON; the run is left alone", path)
        return {}
    return content


def _lock(folder: Path) -> int:
    lock = _try_lock(folder)
    if lock is None:
        raise RunError(f"{folder} is at work in another process.")
    return lock


def _try_lock(folder: Path) -> int | None:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _new_folder(runs: Path) -> Path:
    """A folder named by the time, to the second; SageMaker's names for tuning jobs leave 13 characters."""
    while True:
        folder = runs / datetime.now(UTC).strftime("%y%m%d-%H%M%S")
        try:
            folder.mkdir()
        except FileExistsError:
            time.sleep(0.2)
        else:
            return folder
