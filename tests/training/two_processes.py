"""Run by torchrun: the same steps in two processes and in each of them alone, compared. Not a test by itself.

In double precision, where a mistake is not taken for rounding: normalisation of these even photos amplifies it.
"""

import copy
import json
import sys

import torch

from tests.training.conftest import CLASSES
from training import distributed, loop, model
from training.channels import Channels
from training.data import CountDataset
from training.distributed import World
from training.hyperparameters import Hyperparameters, preset
from training.observer import Observer
from training.state import Training

# Without what is left out by chance, which differs between processes.
RECIPE = preset(
    image_size=32,
    epochs=1,
    batch_size=16,
    backbone=sys.argv[1],
    classes=CLASSES,
    extra_classes=(),
    dropout=0.0,
    precision="float32",
)


class DoublePhotos(CountDataset):
    def inputs(
        self, positions: torch.Tensor, recipe: Hyperparameters, device: torch.device, draws: torch.Tensor | None = None
    ) -> torch.Tensor:
        return super().inputs(positions, recipe, device, draws).double()


def main() -> None:
    channels = Channels.from_environment()
    with distributed.joined() as together:
        train, valid = (DoublePhotos(folder, 32, RECIPE.outputs) for folder in (channels.train, channels.valid))
        valid.ids, valid.counts, valid.pixels = valid.ids[1:], valid.counts[1:], valid.pixels[1:]  # unequal shares
        torch.manual_seed(0)
        start = model.net(RECIPE.backbone, len(CLASSES)).double()
        if RECIPE.backbone == "efficientnet_lite0":
            start._global_params = start._global_params._replace(drop_connect_rate=0.0)  # type: ignore[union-attr,operator]
        values, weights = [], []
        for world in (World(), together):
            network = world.synchronised(copy.deepcopy(start))
            training = Training(network, RECIPE, len(train), world)
            loop.set_training(network, RECIPE)
            for batch in training.begin_epoch(len(train)).order.split(16):
                loop.train_one_step(training, train, batch)
                training.steps["train"] += 1
            values.append(loop.evaluate(training, valid, Observer()))
            weights.append(torch.cat([p.detach().flatten() for p in training.measured.parameters()]))
        if together.main:
            difference = float((weights[0] - weights[1]).abs().max())
            print(json.dumps({"largest_difference": difference, "alone": values[0], "together": values[1]}))


if __name__ == "__main__":
    main()
