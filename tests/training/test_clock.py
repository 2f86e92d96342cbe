"""Where a job's time goes, also over several attempts at it."""

import dataclasses
import time
from pathlib import Path

import pytest

from tests.training.test_job import RECIPE
from training import model
from training.channels import Channels
from training.clock import PhaseClock
from training.errors import InterruptedTrainingError
from training.job import run


def interrupted(clock: PhaseClock) -> None:
    with clock.phase("train"):
        sum(range(10_000))
        raise InterruptedTrainingError("told to end")


def test_a_phase_that_ends_by_an_interruption_counts() -> None:
    clock = PhaseClock()
    with pytest.raises(InterruptedTrainingError):
        interrupted(clock)
    assert clock.seconds()["train"] > 0


def test_a_phase_under_way_counts() -> None:
    clock = PhaseClock()
    with clock.phase("train"):
        time.sleep(0.02)
        found = clock.seconds()
    assert found["train"] >= 0.02
    assert 0 <= found["other"] < found["train"]


def test_earlier_attempts_are_added() -> None:
    clock = PhaseClock()
    clock.go_on({"train": 100.0, "eval": 10.0, "data": 5.0, "other": 2.0})
    with clock.phase("eval"):
        pass
    found = clock.seconds()
    assert found == pytest.approx({"train": 100.0, "eval": 10.0, "data": 5.0, "other": 2.0}, abs=1.0)
    assert found["eval"] > 10.0


def test_a_resumed_job_tells_the_time_of_all_attempts(channels: Channels, tmp_path: Path) -> None:
    resumable = dataclasses.replace(channels, checkpoints=tmp_path / "checkpoints")
    run(dataclasses.replace(RECIPE, epochs=1), resumable)
    first = model.load_card(channels.model).phases
    run(dataclasses.replace(RECIPE, epochs=1), resumable)  # goes on after its last epoch, and so trains no more
    again = model.load_card(channels.model).phases
    assert again["train"] == pytest.approx(first["train"], abs=0.001)
    assert again["train"] > 0
    assert again["data"] > first["data"]
