"""What watches a training is told of every step, once."""

from tests.training.test_job import RECIPE
from training.hyperparameters import Channels
from training.job import run
from training.observer import Mode, Observer


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


def test_every_step_of_training_and_validation_is_told_once(channels: Channels) -> None:
    diary = Diary()
    run(RECIPE, channels, diary)
    assert [step for mode, step in diary.steps if mode == "train"] == list(
        range(3 * 4)
    )  # 72 photos, 16 a batch, full batches only
    assert [step for mode, step in diary.steps if mode == "eval"] == list(range(3))
    assert diary.photos == 3 * 64
    assert diary.ended == 1
