"""Sizes and learning rates over a training."""

import pytest

from training.errors import TrainingError
from training.schedule import Phase, learning_rate_factor, phases, size_at


def test_a_schedule_says_the_size_of_every_epoch() -> None:
    plan = phases("112x2, 144x1,192x2")
    assert plan == (Phase(112, 2), Phase(144, 1), Phase(192, 2))
    assert [size_at(plan, epoch) for epoch in range(6)] == [112, 112, 144, 192, 192, 192]


@pytest.mark.parametrize("schedule", ["112", "112x0", "112x8;144x2", "192x2,112x2", "16x2", "112x2,", "axb"])
def test_a_schedule_that_makes_no_sense(schedule: str) -> None:
    with pytest.raises(TrainingError, match="like 112x8,144x8,192x4"):
        phases(schedule)


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    factors = [learning_rate_factor(step, 10, 2) for step in range(11)]
    assert factors[:3] == [0.5, 1, 1]
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert factors[-1] == pytest.approx(0)
    assert learning_rate_factor(0, 1, 0) == 1
