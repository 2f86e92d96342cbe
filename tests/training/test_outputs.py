"""Counts beyond the range: learned as outputs of their own, and kept out of the answer."""

import torch

from training.outputs import Outputs

OUTPUTS = Outputs((1, 2, 3), (0, 4))


def test_larger_counts_belong_to_the_last_output() -> None:
    assert OUTPUTS.positions(torch.tensor([0, 3, 4, 88])).tolist() == [0, 3, 4, 4]
    assert OUTPUTS.covers(88)
    assert not Outputs((1, 2, 3), (0,)).covers(88)


def test_answers_are_given_that_the_count_is_in_range() -> None:
    answered, outside = OUTPUTS.answers(torch.tensor([[0.1, 0.2, 0.1, 0.1, 0.5]]))
    assert torch.allclose(answered, torch.tensor([[0.5, 0.25, 0.25]]))
    assert torch.allclose(outside, torch.tensor([0.6]))


def test_a_network_without_extra_outputs_answers_all_it_has() -> None:
    probabilities = torch.tensor([[0.2, 0.3, 0.5]])
    answered, outside = Outputs((1, 2, 3)).answers(probabilities)
    assert torch.allclose(answered, probabilities)
    assert outside.tolist() == [0]
