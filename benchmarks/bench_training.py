"""What training wastes: arithmetic, memory, a backbone run again in tuning, and what is neither step nor evaluation.

Photos are noise: nothing here depends on what they show. Ratios are of two things measured in turn in one run.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from tasks.weights import find_weights
from training import loop, model
from training.channels import Channels
from training.clock import PhaseClock
from training.data import CountDataset
from training.distributed import World
from training.efficientnet import Convolution
from training.features import compute
from training.hyperparameters import Hyperparameters, preset
from training.job import run
from training.memory import MEMORY_ENVIRONMENT
from training.precision import Precision
from training.preprocessing import normalise
from training.state import Training

CLASSES = (1, 2, 3, 4, 5)
TRIALS = 12


def write_photos(folder: Path, photos: int, seed: int) -> None:
    """Noise in count folders; 224 pixels a side, as shards hold photos."""
    random = np.random.default_rng(seed)
    for number in range(photos):
        count = CLASSES[number % len(CLASSES)]
        coarse = Image.fromarray(random.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        (folder / str(count)).mkdir(parents=True, exist_ok=True)
        coarse.resize((224, 224)).save(folder / str(count) / f"{number:06}.jpg", quality=90)


def channels_of(folder: Path, train: int, valid: int) -> Channels:
    """A job's channels, filled with noise, and the pretrained weights."""
    write_photos(folder / "train", train, 0)
    write_photos(folder / "valid", valid, 1)
    (folder / "weights").mkdir()
    (folder / "weights" / "efficientnet_lite0.pth").symlink_to(find_weights("efficientnet_lite0"))
    return Channels(folder / "train", folder / "valid", folder / "weights", folder / "model", folder / "output")


def quietly(job: Callable[[], object]) -> float:
    """Seconds that a job takes; what it prints is dropped."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        job()
    return time.perf_counter() - start


def tuning(folder: Path, photos: int) -> None:
    """Twelve trials of the frozen recipe, with and without stored features."""
    channels = channels_of(folder, photos, photos // 5)
    rates = np.geomspace(0.001, 0.1, TRIALS)
    recipe = preset("frozen", image_size=96, epochs=10, batch_size=64)
    trials = [dataclasses.replace(recipe, lr=float(rate)) for rate in rates]
    losses: dict[str, list[float]] = {"photos": [], "features": []}

    def search(name: str, given: Channels) -> float:
        return quietly(lambda: losses[name].extend(run(trial, given).values["loss"] for trial in trials))

    def features() -> None:
        compute(recipe, dataclasses.replace(channels, model=folder / "features"))

    slow = search("photos", channels)
    quick = quietly(features) + search("features", dataclasses.replace(channels, features=folder / "features"))
    best, again = min(losses["photos"]), min(losses["features"])
    print(f"{TRIALS} frozen trials of 10 epochs on {photos} photos at 96 px: {slow:.1f} s with the backbone in each,")
    print(f"  {quick:.1f} s with features computed once (in it): {slow / quick:.1f} times faster (asked for: 10)")
    print(f"  best loss {best:.4f} and {again:.4f}: {abs(best - again) / best:.3%} apart (asked for: 1 %)")


def against_a_bare_loop(folder: Path, rounds: int) -> None:
    """The training loop and a bare one, in turn, a few steps at a time."""
    write_photos(folder, 320, 2)
    recipe = preset(image_size=112, epochs=1)
    data = CountDataset(folder, 112, recipe.outputs)
    network = model.net("efficientnet_lite0", 9, find_weights("efficientnet_lite0"), recipe.dropout)
    training = Training(network, recipe, len(data), World())
    training.total_steps = 10**6
    bare_step = bare(recipe, data.pixels[: recipe.batch_size], data.counts[: recipe.batch_size])
    loop.set_training(network, recipe)
    ratios = []
    for _ in range(rounds):
        batches = torch.randperm(len(data))[: 4 * recipe.batch_size].split(recipe.batch_size)
        ours = quietly(lambda: [loop.train_one_step(training, data, batch) for batch in batches])  # noqa: B023
        theirs = quietly(lambda: [bare_step() for _ in batches])  # noqa: B023
        ratios.append(theirs / ours)
    print(
        f"a step of the loop at 112 px runs at {statistics.median(ratios):.1%} of a bare loop's speed (asked for: 90 %)"
    )


def bare(
    recipe: Hyperparameters, photos: torch.Tensor, counts: torch.Tensor, everything_low: bool = False
) -> Callable[[], None]:
    """A step with nothing but forward, backward and the optimizer, on one batch that is ready in memory.

    ``everything_low`` computes those convolutions in bfloat16 too that the network would compute in float32.
    """
    backbone = model.BACKBONES[recipe.backbone]
    network = model.net("efficientnet_lite0", 9, find_weights("efficientnet_lite0"), recipe.dropout).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr)
    for layer in network.modules():
        if isinstance(layer, Convolution):
            layer.slow_in_bfloat16 &= not everything_low
    inputs = normalise(photos, backbone.mean, backbone.std)
    loss = nn.CrossEntropyLoss()
    precision = Precision(recipe.precision, torch.device("cpu"))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision():
            answers = network(inputs)
        loss(answers.float(), counts).backward()
        optimizer.step()

    return step


def bare_steps(size: int) -> None:
    """Print the milliseconds of a bare step in each arithmetic, with the network's own choice and without."""
    photos = torch.randint(0, 256, (32, 3, size, size), dtype=torch.uint8)
    for name, everything_low in (("float32", False), ("bfloat16", False), ("bfloat16", True)):
        recipe = preset(precision=name)
        step = bare(recipe, photos, torch.arange(32) % 9, everything_low)
        seconds = [quietly(step) for _ in range(7)][2:]
        label = f"{name} in every convolution" if everything_low else name
        print(f"  a bare step on 32 photos of {size} px, {label}: {statistics.median(seconds) * 1000:.0f} ms")


def arithmetic_and_memory(size: int) -> None:
    """Bare steps in processes of their own, started plainly and as jobs are."""
    command = [sys.executable, "-m", "benchmarks.bench_training", "--steps-only", "--size", str(size)]
    environments: dict[str, dict[str, str]] = {"glibc's own ways": {}, "as jobs are started": MEMORY_ENVIRONMENT}
    for label, more in environments.items():
        print(f"Memory: {label}", flush=True)
        subprocess.run(command, env=os.environ | more, check=True)


def outside(folder: Path, photos: int, epochs: int) -> None:
    """How much of a job is neither training nor evaluation."""
    channels = channels_of(folder, photos, photos // 8)
    seen: list[dict[str, float]] = []

    def job() -> None:
        run(preset(image_size=112, epochs=epochs), channels)
        seen.append(model.load_card(channels.model).phases)

    clock = PhaseClock()
    quietly(job)
    whole = sum(clock.seconds().values())
    share = 1 - (seen[0]["train"] + seen[0]["eval"]) / whole
    print(
        f"{photos} photos, {epochs} epochs at 112 px: {whole:.0f} s, {share:.1%} of it outside training and evaluation"
    )


def two_processes(folder: Path, photos: int, epochs: int) -> None:
    """The same training in one process and in two that share its cores and each of its batches (gloo)."""
    channels = channels_of(folder, photos, photos // 8)
    seconds = {}
    for processes in (1, 2):
        recipe = {"image_size": "112", "epochs": str(epochs), "processes": str(processes)}
        subprocess.run(
            [
                sys.executable,
                "-m",
                "training.train",
                *(part for name in recipe for part in (f"--{name}", recipe[name])),
            ],
            env=os.environ
            | {
                "SM_CHANNEL_TRAIN": str(channels.train),
                "SM_CHANNEL_VALID": str(channels.valid),
                "SM_CHANNEL_WEIGHTS": str(channels.weights),
                "SM_MODEL_DIR": str(channels.model),
                "SM_OUTPUT_DATA_DIR": str(channels.output),
            },
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds[processes] = model.load_card(channels.model).phases["train"]
    print(
        f"{epochs} epochs of {photos} photos at 112 px on {os.cpu_count()} hardware threads: {seconds[1]:.0f} s in one "
        f"process, {seconds[2]:.0f} s in two: {seconds[1] / seconds[2]:.2f} times its speed"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=600, help="for the tuning comparison")
    parser.add_argument("--rounds", type=int, default=15, help="of four steps, for the comparison with a bare loop")
    parser.add_argument("--job-photos", type=int, default=6000, help="for the share outside training")
    parser.add_argument("--job-epochs", type=int, default=2)
    parser.add_argument("--size", type=int, default=preset().image_size, help="of the photos, pixels, in bare steps")
    parser.add_argument("--steps-only", action="store_true", help="print what bare steps take in this environment")
    given = parser.parse_args()
    if given.steps_only:
        bare_steps(given.size)
        return
    arithmetic_and_memory(given.size)
    with tempfile.TemporaryDirectory() as folder:
        against_a_bare_loop(Path(folder) / "loop", given.rounds)
        tuning(Path(folder) / "tuning", given.photos)
        two_processes(Path(folder) / "two", given.photos, given.job_epochs)
        outside(Path(folder) / "job", given.job_photos, given.job_epochs)


if __name__ == "__main__":
    main()
