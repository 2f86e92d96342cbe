"""How right an evaluated model is on the photos of a list: ``python -m benchmarks.accuracy_on_list ANSWERS FILE_LIST``.

A model that learned from more photos than the course's list names is compared on those that it names. ANSWERS is the
``answers.parquet`` that an evaluation leaves beside ``model.tar.gz`` on S3. The list has other shares of counts than
all photos have; in the row "weighted" the probabilities are weighted for that, by the shares in the validation split.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tasks.evaluation.intervals import interval, resampled_means

CLASSES = (1, 2, 3, 4, 5)
Floats = NDArray[np.float64]


class Answers:
    """Photos in range of one split: true counts (N,), probabilities (N, 5), and bins."""

    def __init__(self, rows: Sequence[dict[str, object]]) -> None:
        self.truth = np.array([row["count"] for row in rows])
        self.bins = [str(row["bin_group"]) for row in rows]
        shares = [dict(row["probabilities"]) for row in rows]  # type: ignore[call-overload]
        self.probabilities = np.array([[each[str(count)] for count in CLASSES] for each in shares])

    @property
    def shares(self) -> Floats:
        """Of each count."""
        return np.array([np.mean(self.truth == count) for count in CLASSES])


def read(path: Path, split: str, listed: set[str] | None = None) -> Answers:
    """The answers of a split, to listed photos only if there is a list."""
    rows = [row for row in pq.read_table(path).to_pylist() if row["split"] == split and row["count"] in CLASSES]
    return Answers([row for row in rows if listed is None or row["photo_id"] in listed])


def figures(answers: Answers, weights: Floats | None = None) -> list[str]:
    """Number; accuracy, its interval; RMSE of the most probable count, of the rounded mean, of the mean; within one."""
    shares = answers.probabilities * (1.0 if weights is None else weights)
    shares = shares / shares.sum(axis=1, keepdims=True)
    most, mean = np.array(CLASSES)[shares.argmax(axis=1)], shares @ np.array(CLASSES)
    right = (most == answers.truth).astype(float)
    low, high = interval(resampled_means(right[:, None], answers.bins)[:, 0])
    errors = [rms(guess - answers.truth) for guess in (most, np.rint(mean), mean)]
    within = np.mean(abs(most - answers.truth) <= 1)
    accuracy = f"{right.mean():.1%} ({low:.1%} to {high:.1%})"
    return [str(len(right)), accuracy, *(f"{error:.3f}" for error in errors), f"{within:.1%}"]


def constant(answers: Answers, count: int) -> list[str]:
    """The same figures of one answer to everything."""
    error = count - answers.truth
    one = f"{rms(error):.3f}"
    return [str(len(error)), f"{np.mean(error == 0):.1%}", one, one, one, f"{np.mean(abs(error) <= 1):.1%}"]


def rms(error: Floats) -> float:
    """Root of the mean square."""
    return float(np.sqrt((error**2).mean()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", type=Path)
    parser.add_argument("file_list", type=Path)
    options = parser.parse_args()
    content = json.loads(options.file_list.read_text())
    listed = {Path(name).stem for names in content.values() for name in names}
    everything, chosen = read(options.answers, "test"), read(options.answers, "test", listed)
    weights = read(options.answers, "valid", listed).shares / read(options.answers, "valid").shares
    table = Table("test photos", "number", "accuracy", "RMSE", "of the rounded mean", "of the mean", "within one")
    table.add_row("all", *figures(everything))
    table.add_row("listed", *figures(chosen))
    table.add_row("listed, weighted", *figures(chosen, weights))
    table.add_row("all, always 3", *constant(everything, 3))
    table.add_row("listed, always 3", *constant(chosen, 3))
    Console().print(table)


if __name__ == "__main__":
    main()
