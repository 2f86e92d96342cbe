"""Figures are right, and what a log says is what SageMaker reads from it."""

import math

import pytest
import torch

from training import metrics


def test_measure_on_a_case_worked_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
    values = metrics.measure(probabilities, torch.tensor([1, 3, 3, 2]), (1, 2, 3))
    assert values["accuracy"] == 0.75
    assert values["rmse"] == 1.0
    assert values["mae"] == 0.5
    assert values["within_one"] == 0.75
    assert values["loss"] == pytest.approx(-(math.log(0.5) + math.log(0.8) + math.log(0.1) + 0) / 4, rel=1e-6)


def test_classes_need_not_be_consecutive() -> None:
    values = metrics.measure(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([2, 7]), (2, 7))
    assert values["accuracy"] == 1


def test_a_certain_mistake_has_a_finite_loss() -> None:
    assert math.isfinite(metrics.measure(torch.tensor([[0.0, 1.0]]), torch.tensor([1]), (1, 2))["loss"])


def test_the_missions_objective() -> None:
    assert metrics.OBJECTIVE.name == "average test loss"
    assert metrics.OBJECTIVE.regex == r"Testing Loss: ([0-9\.]+)"


def test_the_log_gives_back_the_last_value_of_every_metric() -> None:
    early = dict.fromkeys(("loss", "accuracy", "rmse", "mae", "within_one"), 9.0)
    late = {"loss": 1.25, "accuracy": 0.5, "rmse": 0.96, "mae": 0.71, "within_one": 0.8}
    log = "\n".join(["noise", *metrics.lines(early), "Epoch 2", *metrics.lines(late), "bye"])
    assert metrics.read(log) == late
