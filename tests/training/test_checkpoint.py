"""Checkpoints: when they are left, and that whatever comes between, a training ends as if nothing had.

On a last layer with dropout and a handful of random inputs, which train in no time.
"""

import dataclasses
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training import checkpoint, loop
from training.clock import PhaseClock
from training.errors import InterruptedTrainingError, TrainingError
from training.hyperparameters import Hyperparameters
from training.loop import Fit, fit
from training.model import Head
from training.observer import Mode, Observer

RECIPE = Hyperparameters(lr=0.01, batch_size=4, epochs=3, classes=(1, 2, 3), dropout=0.3, average=0.9, frozen=True)


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


class Inputs:
    """A split of random inputs; SIGTERM comes while a batch of it is trained on, if wished."""

    def __init__(self, photos: int, seed: int, terminated_in: int | None = None) -> None:
        self._batches, self._terminated_in = 0, terminated_in
        self._values = torch.randn(photos, 8, generator=torch.Generator().manual_seed(seed))
        self.counts = torch.arange(photos) % 3 + 1
        self.ids = [str(number) for number in range(photos)]
        self.unreadable: dict[str, str] = {}
        self.out_of_range = 0
        self.digest = f"{photos} {seed}"

    def __len__(self) -> int:
        return len(self.ids)

    def resize(self, size: int) -> None:
        pass

    def inputs(
        self, positions: Tensor, recipe: Hyperparameters, device: torch.device, draws: Tensor | None = None
    ) -> Tensor:
        if draws is not None:
            if self._batches == self._terminated_in:
                terminate()
            self._batches += 1
        return self._values[positions]


class At(Observer):
    """Does something once, after a step; remembers the steps of validation."""

    def __init__(self, mode: Mode, step: int, action: Callable[[], None]) -> None:
        self._when, self._action = (mode, step), action
        self.measured: list[int] = []

    def step(self, mode: Mode, step: int, loss: float, photos: int) -> None:
        if mode == "eval":
            self.measured.append(step)
        if (mode, step) == self._when:
            self._action()


def train(
    checkpoints: Path | None = None,
    observer: Observer | None = None,
    batch: int = 4,
    terminated_in: int | None = None,
) -> Fit:
    torch.manual_seed(1)
    recipe, photos = dataclasses.replace(RECIPE, batch_size=batch), Inputs(12, 0, terminated_in)
    return fit(Head(8, 3, RECIPE.dropout), photos, Inputs(9, 1), recipe, PhaseClock(), checkpoints, observer)


def die() -> None:
    raise KeyboardInterrupt  # nothing is written on the way out, as where a process is killed


def assert_same(found: Fit, expected: Fit) -> None:
    assert found.history == expected.history
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.weights.items())


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("batch", [4, 12], ids=["three steps an epoch", "one step an epoch"])
def test_a_request_to_end_is_heeded_after_any_step(tmp_path: Path, batch: int, step: int) -> None:
    with pytest.raises(InterruptedTrainingError, match=rf"after step {step + 1}; .* goes on from there"):
        train(tmp_path, batch=batch, terminated_in=step)
    assert_same(train(tmp_path, batch=batch), train(batch=batch))


def test_a_request_to_end_is_heeded_within_a_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "EVALUATION_BATCH", 4)  # nine photos: three batches a measurement
    broken, resumed, whole = (At("eval", step, terminate) for step in (4, -1, -1))
    with pytest.raises(InterruptedTrainingError, match="after step 6"):
        train(tmp_path, broken)
    assert broken.measured == [0, 1, 2, 3, 4]
    assert_same(train(tmp_path, resumed), train(None, whole))
    assert resumed.measured == [3, 4, 5, 6, 7, 8]
    assert whole.measured == list(range(9))


def test_between_two_epochs_too(tmp_path: Path) -> None:
    with pytest.raises(InterruptedTrainingError, match="after step 3"):
        train(tmp_path, At("eval", 0, terminate))
    assert_same(train(tmp_path), train())


@pytest.mark.parametrize(("interval", "lost"), [(0.0, 0), (3600.0, 2)], ids=["due", "not due"])
def test_within_an_epoch_a_checkpoint_is_left_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float, lost: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", interval)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, At("train", 5, die))  # the third of the second epoch, whose own checkpoint is not yet due
    capsys.readouterr()
    assert_same(train(tmp_path), train())
    assert f"Resuming after epoch 1, step {5 - lost}\n" in capsys.readouterr().out


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    train(tmp_path, batch=12)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a write beyond it fails as on a full disk
    try:
        with pytest.raises(TrainingError, match=r"cannot be written: .*disk full"):
            checkpoint._write(tmp_path, {"state": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / f".{checkpoint.FILE}.4711").write_bytes(b"half")
    train(tmp_path, batch=12)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
