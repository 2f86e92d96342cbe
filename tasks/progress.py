"""How far a job is, as a progress artifact in Prefect's UI."""

import re
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

EPOCH = re.compile(r"Epoch (\d+)/(\d+)\b")


class Progress:
    """A progress artifact that is told how much of a whole is done."""

    def __init__(self, label: str) -> None:
        self._label, self._shown = label, 0.0
        self._artifact: Any = create_progress_artifact(0.0, description=label)

    def show(self, done: int, whole: int) -> None:
        """Say that ``done`` of ``whole`` are done; the artifact is written only when that is news."""
        share = 100.0 * done / whole if whole else 0.0
        if share != self._shown and isinstance(self._artifact, UUID):
            update_progress_artifact(self._artifact, share, description=f"{self._label}: {done} of {whole}")
        self._shown = share

    def finish(self) -> None:
        """All is done, also where it ended early or never said how far it was."""
        if self._shown < 100.0 and isinstance(self._artifact, UUID):
            update_progress_artifact(self._artifact, 100.0, description=f"{self._label}: done")

    def read(self, lines: list[str]) -> None:
        """Take the epochs that are done from a training job's log."""
        for done, whole in (found.groups() for found in map(EPOCH.search, lines) if found):
            self.show(int(done), int(whole))
