"""What the debugger costs a training in step time and bytes: ``python -m benchmarks.bench_debugger``.

Two trainings of the same network take turns, ten steps each, one watched and one not, so that whatever else the
machine does falls on both alike. The bytes of a default job follow from those of a recorded step.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from training import model
from training.debugger.options import DebugOptions, Places
from training.debugger.recorder import Recorder
from training.debugger.sampler import Sampler
from training.debugger.timeline import Timeline
from training.hyperparameters import preset
from training.observer import Observer
from training.precision import PRECISION_CHOICES, Precision

PHOTOS = 8_350
"""Of a default job: the course's 10,441 photos, split 80/10/10."""
INTERVAL = DebugOptions().save_interval_train
RECIPE = preset()


class Loop:
    """A training loop on random photos, told to an observer."""

    def __init__(self, given: argparse.Namespace, observer: Observer) -> None:
        size, batch = given.image_size, given.batch_size
        self.model, self.loss, self.observer = model.net(given.backbone, 6), nn.CrossEntropyLoss(), observer
        self.precision = Precision(given.precision, torch.device("cpu"))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.001, momentum=0.9)
        self.inputs = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        self.labels = torch.rand(batch, 6).softmax(dim=1)
        self.steps = 0
        observer.begin(self.model, self.loss)
        observer.resume({"train": 0, "eval": 0})
        observer.mode("train", 1)

    def run(self, steps: int) -> float:
        """Train so many steps; returns the seconds of one."""
        began = time.perf_counter()
        for _ in range(steps):
            with self.precision():
                answers = self.model(self.inputs)
            loss = self.loss(answers.float(), self.labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.observer.step("train", self.steps, loss.item(), len(self.inputs))
            self.steps += 1
        return (time.perf_counter() - began) / steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0", choices=model.BACKBONES)
    parser.add_argument("--image-size", type=int, default=RECIPE.image_size)
    parser.add_argument("--batch-size", type=int, default=RECIPE.batch_size)
    parser.add_argument("--precision", choices=PRECISION_CHOICES, default=RECIPE.precision)
    parser.add_argument("--rounds", type=int, default=8, help=f"turns of {INTERVAL} steps for each (default: 8)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        places = Places(Path(scratch) / "tensors", Path(scratch) / "profile")
        options, timeline = DebugOptions(), Timeline(places.profile)
        watched = Loop(given, Recorder(options, places, timeline))
        alone = Loop(given, Observer())
        with Sampler(places.profile, options.system_interval):
            pairs = [(alone.run(INTERVAL), watched.run(INTERVAL)) for _ in range(given.rounds + 1)][1:]
        watched.observer.end()
        tensors, profile = size_of(places.tensors), size_of(places.profile)
    ratios = [with_hook / without for without, with_hook in pairs]
    saved = (given.rounds + 1) * INTERVAL / INTERVAL
    steps = PHOTOS // given.batch_size * RECIPE.epochs
    whole = steps / INTERVAL * tensors / saved + profile / (2 * (given.rounds + 1) * INTERVAL) * steps
    how = f"{given.image_size} px, {given.batch_size} photos a step, {watched.precision.name}"
    print(f"{given.backbone}, {how}, every {INTERVAL}th recorded")
    print(f"| a step, alone | {1000 * statistics.median(without for without, _ in pairs):.0f} ms |")
    print(f"| a step, watched, against the turn before | {statistics.median(ratios) - 1:+.1%} |")
    print(f"| all watched turns, against all others | {sum(w for _, w in pairs) / sum(a for a, _ in pairs) - 1:+.1%} |")
    print(f"| a recorded step | {tensors / saved / 1000:.0f} kB |")
    print(f"| a default job, {steps} steps | {whole / 1e6:.0f} MB |")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
