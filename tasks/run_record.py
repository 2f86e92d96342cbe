"""One run: its id, its folder, and its memory of what was done.

What a stage of a run leaves is kept in ``<run>/stages/<stage>.json``. It is written last, so it says that the stage is
done: a run that is picked up does not do it again, and another run may begin with the stage after it.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tasks.home import write_at_home
from tasks.settings import Settings
from training.errors import RunError

Result = TypeVar("Result", bound=BaseModel)


def digest_of(value: Any) -> str:
    """Eight hexadecimal digits that stand for any JSON-like value."""
    canonical = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def result_file(folder: Path, stage: str) -> Path:
    """Where the run of a folder keeps what a stage left."""
    return folder / "stages" / f"{stage}.json"


class Run:
    """A run's folder ``<home>/runs/<run_id>``: ``run.json`` has its state, ``summary.json`` its results.

    Attributes:
        wanted: the stages that it is to do; None for all.
        taken_from: the run whose stages it goes on from, if any.
    """

    def __init__(self, folder: Path, run_id: str, state: dict[str, Any], lock: int) -> None:
        self.folder, self.run_id, self._state, self._lock = folder, run_id, state, lock
        self.resumed = self._summary_file.exists()
        self.summary: dict[str, Any] = json.loads(self._summary_file.read_text()) if self.resumed else {}
        self.wanted: Collection[str] | None = None

    @property
    def _summary_file(self) -> Path:
        return self.folder / "summary.json"

    def begin(self, settings: Settings) -> "Run":
        """Write down that the run is under way, and a summary if it is new."""
        self._set_status("running")
        if not self.resumed:
            self.summary = {
                "run_id": self.run_id,
                "flow": self._state["flow"],
                "target": settings.target,
                "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": 0.0,
                "stages": {},
            }
            self._save()
        return self

    def parameters(self, kind: type[Result]) -> Result:
        """The parameters that the run was begun with.

        Raises:
            RunError: this version's flow does not take them any more.
        """
        try:
            return kind.model_validate(self._state["parameters"])
        except ValidationError as error:
            raise RunError(f"The run {self.run_id} has parameters that the flow does not take: {error}") from error

    @property
    def flow_run(self) -> str | None:
        """Prefect's flow run that was the last to work on it, if any."""
        found: str | None = self._state.get("flow_run")
        return found

    def belongs_to(self, flow_run: str | None) -> None:
        """Write down which of Prefect's flow runs works on it."""
        self._state["flow_run"] = flow_run
        self._set_status("running")

    @property
    def taken_from(self) -> str | None:
        """The run whose stages this one goes on from, if any."""
        donor: str | None = self._state.get("taken_from")
        return donor

    def take_from(self, donor: Path, stages: Collection[str]) -> None:
        """Begin with what stages of an earlier run left, as if they were this run's own."""
        for stage in stages:
            self.keep(stage, result_file(donor, stage).read_bytes())
        source = json.loads((donor / "summary.json").read_text()).get("source")
        self.record(source=source, taken={"run_id": donor.name, "stages": list(stages)})
        self._state["taken_from"] = donor.name
        self._set_status("running")

    def record(self, **sections: Any) -> None:
        """Add sections to ``summary.json``, at once on disk."""
        self.summary |= sections
        self._save()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; after a resume the seconds of both attempts add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            stages = self.summary["stages"]
            stages[name] = round(stages.get(name, 0.0) + time.perf_counter() - start, 3)
            self.summary["seconds"] = round(sum(stages.values()), 3)
            self._save()

    def do(self, name: str, work: Callable[[], Result], tell: Callable[[Result], dict[str, Any]] | None = None) -> None:
        """Do a stage and keep its result, unless it is done already or not wanted.

        Args:
            name: of the stage.
            work: does it.
            tell: makes sections of ``summary.json`` out of the result.
        """
        if not self.is_to_do(name):
            return
        with self.stage(name):
            result = work()
        if tell:
            self.record(**tell(result))
        self.keep(name, result.model_dump_json())

    def wants(self, name: str) -> bool:
        """Whether a stage is to be done in this run."""
        return self.wanted is None or name in self.wanted

    def is_to_do(self, *names: str) -> bool:
        """Whether any of these stages is wanted and not done yet."""
        return any(self.wants(name) and not self.has(name) for name in names)

    def has(self, name: str) -> bool:
        """Whether the result of a stage is here."""
        return result_file(self.folder, name).exists()

    def result(self, name: str, kind: type[Result]) -> Result:
        """What a stage left.

        Raises:
            RunError: it has not been done, or another version of this code did it.
        """
        try:
            return kind.model_validate_json(result_file(self.folder, name).read_bytes())
        except FileNotFoundError:
            raise RunError(f"The run {self.run_id} has no result of the stage {name}.") from None
        except ValidationError as error:
            raise RunError(f"The run {self.run_id} has a result of {name} that cannot be read: {error}") from error

    def keep(self, name: str, result: str | bytes) -> None:
        """Write down what a stage left, as JSON; from now on it is done."""
        write_at_home(result_file(self.folder, name), result)

    def finish(self, status: str) -> None:
        """Close the run as ``completed``, ``partial`` or ``failed``; a failed one is picked up by the next start."""
        try:
            self._set_status(status)
        finally:
            os.close(self._lock)

    def _set_status(self, status: str) -> None:
        self._state["status"] = status
        write_at_home(self.folder / "run.json", json.dumps(self._state, indent=2))

    def _save(self) -> None:
        write_at_home(self._summary_file, json.dumps(self.summary, indent=2))
