"""The final training with the tuned hyperparameters, watched: tensors, phases and the machine are recorded.

It trains as ``train.py`` does, and takes five hyperparameters more: ``save_interval_train`` (10),
``save_interval_eval`` (1), ``whole_layers`` (none), ``system_interval`` (1 second), ``trace_steps`` (0).
See docs/debugger.md.
"""

import contextlib
import os
import sys

from training.channels import Channels
from training.debugger.options import DebugOptions, Places, split_arguments
from training.debugger.recorder import Recorder
from training.debugger.sampler import Sampler
from training.debugger.timeline import Timeline
from training.distributed import World
from training.errors import TrainingError
from training.hyperparameters import Hyperparameters
from training.job import failed, main, run
from training.loop import Fit
from training.observer import Observer


class DebuggedJob:
    """A training job with the debugger's options."""

    def __init__(self, options: DebugOptions) -> None:
        self.options = options

    def __call__(
        self, recipe: Hyperparameters, channels: Channels, observer: Observer | None = None, world: World | None = None
    ) -> Fit:
        """Train, watched by a recorder; with several processes, the first one records.

        Raises:
            TrainingError: the data or the recipe do not allow training.
        """
        if world and not world.main:
            return run(recipe, channels, None, world)
        places, node = Places.of(channels), os.environ.get("SM_CURRENT_HOST", "algo-1")
        timeline = Timeline(places.profile, node)
        sampler = Sampler(places.profile, self.options.system_interval, node)
        with sampler, contextlib.closing(_Flushed(timeline)):
            return run(recipe, channels, Recorder(self.options, places, timeline), world)


class _Flushed:
    """Writes the rest of a timeline: what follows the last step."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def close(self) -> None:
        self._timeline.phase("Finalization")
        self._timeline.flush()


if __name__ == "__main__":
    try:
        given, rest = split_arguments(sys.argv[1:])
    except TrainingError as error:
        raise SystemExit(failed(error)) from None
    raise SystemExit(main(DebuggedJob(given), rest))
