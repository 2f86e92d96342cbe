"""What watches a training is told of every step, once."""

import math

import pytest
import torch

from tests.training.test_job import RECIPE
from training.distributed import World
from training.hyperparameters import Channels, Hyperparameters
from training.job import run
from training.loop import validation_loss
from training.model import Head
from training.observer import Mode, Observer
from training.state import Training


class Diary(Observer):
    def __init__(self) -> None:
        self.steps: list[tuple[Mode, int]] = []
        self.photos = 0
        self.ended = 0

    def step(self, mode: Mode, step: int, loss: float, photos: int) -> None:
        self.steps.append((mode, step))
        self.photos += photos if mode == "train" else 0

    def end(self) -> None:
        self.ended += 1


def test_photos_that_the_network_has_no_output_for_leave_the_validation_loss_alone() -> None:
    recipe = Hyperparameters(classes=(1, 2, 3), epochs=1, ordinal_sigma=0.5)
    training = Training(Head(8, 3, 0.0), recipe, 8, World())
    shares = torch.softmax(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    with_others = validation_loss(training, shares, torch.tensor([1, 0, 3, 9]))
    assert with_others == pytest.approx(validation_loss(training, shares[[0, 2]], torch.tensor([1, 3])))
    assert math.isnan(validation_loss(training, shares, torch.tensor([0, 0, 9, 9])))


def test_every_step_of_training_and_validation_is_told_once(channels: Channels) -> None:
    diary = Diary()
    run(RECIPE, channels, diary)
    assert [step for mode, step in diary.steps if mode == "train"] == list(
        range(3 * 4)
    )  # 72 photos, 16 a batch, full batches only
    assert [step for mode, step in diary.steps if mode == "eval"] == list(range(3))
    assert diary.photos == 3 * 64
    assert diary.ended == 1
