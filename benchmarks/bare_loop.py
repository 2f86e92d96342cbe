"""The quickest plain way to count photos, which others are held against: decoding on threads, the network over batches.

``python -m benchmarks.bare_loop MODEL PHOTOS NUMBER`` prints the photos a second, without what is made ready once. It
is run as a process of its own, started with the variables that serving gets, whatever the benchmark itself runs with.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from serving import inference
from training.memory import SERVING_ENVIRONMENT

BATCH = 16


def bare(saved: Path, photos: Sequence[bytes], number: int) -> float:
    """Photos a second of a saved model over these JPEGs, again and again until ``number`` are counted."""
    with tempfile.TemporaryDirectory() as folder:
        for place, photo in enumerate(photos):
            (Path(folder) / f"{place:06}.jpg").write_bytes(photo)
        command = [sys.executable, "-m", "benchmarks.bare_loop", str(saved), folder, str(number)]
        environment = os.environ | SERVING_ENVIRONMENT
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure in this process."""
    saved, folder, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    loaded = inference.model_fn(str(saved))
    photos = [path.read_bytes() for path in sorted(folder.iterdir())]
    _count(loaded, photos, 2 * BATCH)
    began = time.perf_counter()
    _count(loaded, photos, number)
    print(number / (time.perf_counter() - began))


def _count(loaded: inference.Model, photos: list[bytes], number: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, number, BATCH):
            batch = [photos[place % len(photos)] for place in range(start, min(number, start + BATCH))]
            inference.predict_batch(torch.stack(list(pool.map(loaded.pixels, batch))), loaded)


if __name__ == "__main__":
    main()
