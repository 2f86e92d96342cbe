"""Checkpoints: everything that the next step depends on, of all processes.

One is left after each epoch, every few minutes within one, and where a training is told to end. A resumed training
ends as if it had never been interrupted.
"""

import dataclasses
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from training.clock import PhaseClock
from training.errors import InterruptedTrainingError, TrainingError
from training.hyperparameters import Hyperparameters
from training.interruption import Interruption
from training.model import UNREADABLE
from training.state import Training

FILE = "checkpoint.pt"

INTERVAL = 300.0
"""Seconds after which a checkpoint is left within an epoch: what is lost at most where no SIGTERM announces the end."""


def key_of(recipe: Hyperparameters, *data_digests: str) -> str:
    """What a checkpoint belongs to: the recipe and the data."""
    told = json.dumps([dataclasses.asdict(recipe), *data_digests], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


class Keeper:
    """Leaves a training's checkpoints in a folder, and goes on from them.

    All processes make one, and call its methods, together; the main one's folder is what counts.
    """

    def __init__(
        self, training: Training, folder: Path | None, key: str, clock: PhaseClock, interruption: Interruption
    ) -> None:
        """Keep one training.

        Args:
            training: what is kept.
            folder: of the checkpoints, the main process's; None keeps none.
            key: what they belong to; see `key_of`.
            clock: whose seconds are kept too.
            interruption: whether this process was told to end.
        """
        self._training, self._key = training, key
        self._folder = training.world.by_main(lambda: folder)
        self._clock, self._interruption = clock, interruption
        self._saved = time.monotonic()

    def resume(self) -> bool:
        """Go back to where the checkpoint was made; False where there is none.

        Raises:
            TrainingError: it cannot be read, or belongs to another recipe or other data.
        """
        folder, training = self._folder, self._training
        if folder is None or (saved := training.world.by_main(lambda: _read(folder, self._key))) is None:
            return False
        training.restore(saved["state"])
        self._clock.go_on(saved["seconds"])
        _restore_generators(training, saved["generators"])
        return True

    def save(self) -> None:
        """Leave a checkpoint in place of the one before.

        Raises:
            TrainingError: it cannot be written; the one before is still there.
        """
        if (folder := self._folder) is None:
            return
        world = self._training.world
        generators = world.every(_generators(world.device))
        found = {"key": self._key, "generators": generators, "seconds": self._clock.seconds()}
        world.by_main(lambda: _write(folder, found | {"state": self._training.state()}))
        self._saved = time.monotonic()

    def pause(self) -> None:
        """Between two batches: do what any of the processes asks for; see `heed`."""
        self.heed(*self._training.world.sums(*self.asks()))

    def asks(self) -> tuple[float, float]:
        """Whether this process was told to end, and whether a checkpoint is due: numbers, to be summed over all."""
        due = self._training.world.main and time.monotonic() - self._saved >= INTERVAL
        return float(self._interruption.requested), float(due)

    def heed(self, told: float, due: float) -> None:
        """Do what any of the processes asked for, given the sums.

        Raises:
            InterruptedTrainingError: to end; the checkpoint is of what is done.
        """
        if told or due:
            self.save()
        if told:
            goes_on = f"; the checkpoint in {self._folder} goes on from there" if self._folder else ""
            raise InterruptedTrainingError(f"told to end after step {self._training.steps['train']}{goes_on}")


def discard(folder: Path) -> None:
    """Leave an empty checkpoint, from which nothing goes on; SageMaker would not delete on S3 what is deleted here.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        (folder / FILE).write_bytes(b"")
    except OSError as error:
        raise TrainingError(f"the checkpoint in {folder} cannot be emptied: {error}; is the folder gone?") from error


def _write(folder: Path, found: dict[str, Any]) -> None:
    """Write so that a killed writer leaves the checkpoint before."""
    scratch = folder / f".{FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(found, scratch)
        scratch.replace(folder / FILE)
    except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError, if PyTorch finds it
        scratch.unlink(missing_ok=True)
        raise TrainingError(
            f"the checkpoint in {folder} cannot be written: {error}; is the disk full? The one before is still there"
        ) from error


def _read(folder: Path, key: str) -> dict[str, Any] | None:
    for stale in folder.glob(f".{FILE}.*"):  # of writers that were killed; the folder is synced to S3
        stale.unlink(missing_ok=True)
    path = folder / FILE
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = {name: saved[name] for name in ("key", "generators", "seconds", "state")}
    except UNREADABLE as error:
        raise TrainingError(f"the checkpoint {path} cannot be read: {error}; delete it to start over") from error
    if found["key"] != key:
        raise TrainingError(f"the checkpoint {path} is of another recipe or other data; delete it to start over")
    return found


def _generators(device: torch.device) -> dict[str, Any]:
    """What this process draws from by chance: the global generators."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": on_gpu}


def _restore_generators(training: Training, saved: list[dict[str, Any]]) -> None:
    world = training.world
    if world.rank >= len(saved):  # there are more processes than there were, and this one has no past
        torch.manual_seed(training.recipe.seed + world.rank + world.size * training.steps["train"])
        return
    mine = saved[world.rank]
    torch.set_rng_state(mine["cpu"])
    if world.device.type == "cuda" and mine["cuda"] is not None:
        torch.cuda.set_rng_state(mine["cuda"], world.device)
