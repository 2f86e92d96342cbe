"""The observer of a debugged training: smdebug's hook for the tensors, and a profile of the time."""

from collections.abc import Callable, Mapping

from torch import nn

from training.debugger.hook import DebugHook
from training.debugger.options import DebugOptions, Places
from training.debugger.timeline import Timeline
from training.debugger.trace import Trace
from training.observer import Mode, Observer


class Recorder(Observer):
    """Records what the loop does."""

    def __init__(self, options: DebugOptions, places: Places, timeline: Timeline) -> None:
        self._options, self._places, self._timeline = options, places, timeline
        self._hook: DebugHook | None = None
        self._trace = Trace(places.profile, options.trace_steps)
        self._steps: dict[Mode, int] = {"train": 0, "eval": 0}
        self._mode: Mode = "train"

    def begin(self, model: nn.Module, loss: nn.Module, scale: Callable[[], float] = lambda: 1.0) -> None:
        """Hook model and loss."""
        self._hook = DebugHook(self._places.tensors, self._options)
        self._hook.watch(model, loss, scale)
        model.register_forward_pre_hook(lambda *_: self._timeline.forward_begins())
        loss.register_forward_hook(lambda *_: self._timeline.forward_ends())
        self._timeline.phase("Initialization")

    def resume(self, steps: Mapping[Mode, int]) -> None:
        """Go on counting where the checkpoint was made."""
        self._steps |= steps

    def mode(self, mode: Mode, epoch: int) -> None:
        """Turn to training or validation."""
        self._mode = mode
        self._timeline.step_begins()
        self._open()

    def step(self, mode: Mode, step: int, loss: float, photos: int) -> None:
        """Close a step's records, and open the next one's."""
        if self._hook:
            self._hook.record_updates()
            self._hook.close_step()
        self._timeline.step_ends(mode, step, photos)
        self._steps[mode] = step + 1
        if mode == "train":
            self._trace.step()
        self._open()

    def failed(self, loss: float) -> None:
        """Record the loss that ended the training, also where its step was none of those to be recorded."""
        if self._hook:
            self._hook.record_loss(loss)

    def end(self) -> None:
        """Close everything, also after a failure."""
        self._trace.close()
        if self._hook:
            if self._mode == "eval":  # what is measured after the last pass is no step; a step that failed is one
                self._hook.abandon_step()
            self._hook.close()
        self._timeline.flush()

    def _open(self) -> None:
        if self._hook:
            other: Mode = "eval" if self._mode == "train" else "train"
            self._hook.open_step(self._mode, self._steps[self._mode], self._steps[other])
