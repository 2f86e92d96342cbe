"""Run by torchrun: a training in two processes, undisturbed and interrupted, compared. Not a test by itself.

Each leaves out by chance, batches are uneven, and the second process has neither a photo to validate nor a checkpoint.
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.training.test_checkpoint import RECIPE, Inputs
from training import distributed
from training.clock import PhaseClock
from training.distributed import World
from training.errors import InterruptedTrainingError
from training.loop import Fit, fit
from training.model import Head

STEP = 6
"""The third of four in the second epoch."""


class Network(nn.Module):
    """Normalisation over both processes, and dropout in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.fc = Head(8, 3, RECIPE.dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        normalised = self.norm(inputs.view(-1, 8, 1, 1))
        logits: Tensor = self.fc(nn.functional.dropout2d(normalised, 0.1, self.training).flatten(1))
        return logits


def train(world: World, checkpoints: Path | None, terminated_in: int | None = None) -> Fit:
    torch.manual_seed(1)
    recipe = dataclasses.replace(RECIPE, backbone="resnet18", batch_size=3, frozen=False)
    train, valid = Inputs(12, 0, terminated_in), Inputs(1, 1)
    return fit(Network(), train, valid, recipe, PhaseClock(), checkpoints, world=world)


def main() -> None:
    with distributed.joined() as world:
        folder = Path(sys.argv[1]) / str(world.rank)
        folder.mkdir()
        whole = train(world, None)
        said = ""
        try:
            train(world, folder, terminated_in=None if world.main else STEP)
        except InterruptedTrainingError as error:
            said = str(error)
        resumed = train(world, folder)
        same = resumed.history == whole.history and all(
            torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items()
        )
        found = world.every({"said": said, "same": same, "left": [path.name for path in folder.iterdir()]})
        if world.main:
            print(json.dumps(found))


if __name__ == "__main__":
    main()
