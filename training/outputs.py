"""What a network's outputs stand for: the counts that it answers, and others that it only has to recognise."""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The counts behind the outputs of a network.

    A model that never saw a bin of seven is sure to call it a five. Counts beyond the range are therefore learned
    as outputs of their own: they sharpen the counts in range, and say when a bin is none of them.

    Attributes:
        classes: the counts that are answered, ascending.
        extra: counts that are learned besides; the largest stands for every larger count too, if it is larger
            than all classes.
    """

    classes: tuple[int, ...]
    extra: tuple[int, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """The count of each output, ascending."""
        return tuple(sorted({*self.classes, *self.extra}))

    def covers(self, count: int) -> bool:
        """Whether photos with this count can be learned from."""
        return count in self.counts or (self.counts[-1] in self.extra and count > self.counts[-1])

    def covered(self, counts: Tensor) -> Tensor:
        """Which of these true counts are covered, a boolean for each."""
        return torch.tensor([self.covers(count) for count in counts.tolist()], dtype=torch.bool, device=counts.device)

    def positions(self, counts: Tensor) -> Tensor:
        """The output that each of these true counts belongs to; all of them are covered."""
        values = torch.tensor(self.counts, device=counts.device)
        return torch.searchsorted(values, counts.clamp(max=self.counts[-1]))

    def in_range(self, counts: Tensor) -> Tensor:
        """Which of these true counts are answered, a boolean for each."""
        return torch.isin(counts, torch.tensor(self.classes, device=counts.device))

    def answers(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Split a network's probabilities into what is answered and what is not.

        Args:
            probabilities: of every output, shape (N, outputs), rows sum to one.

        Returns:
            probability of each class, given that the count is among them, shape (N, classes), rows sum to one;
            and the probability that it is not, shape (N,).
        """
        inside = probabilities[:, [self.counts.index(count) for count in self.classes]]
        outside = probabilities[:, [self.counts.index(count) for count in self.counts if count not in self.classes]]
        total = inside.sum(dim=1, keepdim=True)
        return inside / total.clamp_min(1e-12), outside.sum(dim=1).clamp(0, 1)  # none of them: zero, not a rounding


def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities as if the logits had been divided by a temperature (Guo et al., 2017).

    Args:
        probabilities: shape (N, outputs), rows sum to one.
        temperature: above 1 makes them less sure, below 1 surer; the order never changes.
    """
    if temperature == 1.0:
        return probabilities
    return torch.softmax(probabilities.clamp_min(1e-12).log() / temperature, dim=1)


def tilted(inside: Tensor, classes: tuple[int, ...], tilt: float) -> Tensor:
    """Probabilities as if each object more had added so much to a class's logit.

    A network that also learned counts beyond the range says too little, on average, where the count is in it: what it
    gives to the counts above is left out. Biases of the logits (Alexandari et al., 2020) mend that; these lie on a
    line, as counts do, so that one number is fitted.

    Args:
        inside: probability of each class, shape (N, classes), rows sum to one.
        classes: the counts.
        tilt: above 0 makes large counts likelier.
    """
    if tilt == 0.0:
        return inside
    counts = torch.tensor(classes, dtype=inside.dtype, device=inside.device)
    return torch.softmax(inside.clamp_min(1e-12).log() + tilt * (counts - counts.mean()), dim=1)
