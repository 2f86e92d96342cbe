"""One trial of a tuning job: trains like ``train.py`` and prints the objective, but keeps no weights.

A trial is asked for a number; uploading a model for each of them is paid for and never read. A tuning job has one place
for checkpoints, of which every trial may be given a copy: each keeps its own in a folder of its job's name, and empties
it when it is done, or the last of many trials would have to fetch those of all others.
"""

import dataclasses
import os
import tempfile
from pathlib import Path

from training.checkpoint import discard
from training.distributed import World
from training.hyperparameters import Channels, Hyperparameters
from training.job import main, run
from training.loop import Fit
from training.observer import Observer


def trial(
    recipe: Hyperparameters, channels: Channels, observer: Observer | None = None, world: World | None = None
) -> Fit:
    """Run one trial.

    Raises:
        TrainingError: the data or the recipe do not allow training.
    """
    with tempfile.TemporaryDirectory() as scratch:
        own = dataclasses.replace(channels, model=Path(scratch), checkpoints=_own(channels.checkpoints))
        fit = run(recipe, own, observer, world)
    if own.checkpoints and (world is None or world.main):
        discard(own.checkpoints)
    return fit


def _own(checkpoints: Path | None) -> Path | None:
    """The folder of this trial, so that none goes on from another's; none where the job's name is not known."""
    name = os.environ.get("TRAINING_JOB_NAME")
    return checkpoints / name if checkpoints and name else None


if __name__ == "__main__":
    raise SystemExit(main(trial))
