"""Counts as an order."""

import math

import torch

from training.outputs import Outputs
from training.targets import soft_targets


def test_without_width_all_of_the_target_is_on_the_true_count() -> None:
    targets = soft_targets(torch.tensor([2, 9]), Outputs((1, 2, 3), (0, 4)), 0)
    assert targets.tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]


def test_neighbours_get_what_a_normal_distribution_gives_them() -> None:
    target = soft_targets(torch.tensor([2]), Outputs((1, 2, 3)), 0.5)[0]
    assert torch.allclose(target.sum(), torch.tensor(1.0))
    assert math.isclose(float(target[0] / target[1]), math.exp(-2), rel_tol=1e-5)
    assert target[0] == target[2]


def test_distance_is_in_counts_not_in_outputs() -> None:
    target = soft_targets(torch.tensor([1]), Outputs((1, 5)), 0.5)[0]
    assert target[1] < 1e-6
