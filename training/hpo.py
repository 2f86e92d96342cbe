"""One trial of a tuning job: trains like ``train.py`` and prints the objective, but keeps no weights.

A trial is asked for a number; uploading a model for each of them is paid for and never read.
"""

import dataclasses
import tempfile
from pathlib import Path

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
        return run(recipe, dataclasses.replace(channels, model=Path(scratch)), observer, world)


if __name__ == "__main__":
    raise SystemExit(main(trial))
