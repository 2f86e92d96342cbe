"""How much any ranking can find with a model's answers: ``python -m benchmarks.triage_bound ANSWERS [PLANTINGS]``.

ANSWERS is the ``answers.parquet`` that an evaluation leaves beside ``model.tar.gz`` on S3; its test photos in range are
looked at. Errors are planted in 5 % of the record, as evaluation does it. Bins are then ranked by the exact probability
that their record is off by two or more, which takes the model's probabilities and the way of planting for given. No
ranking finds more of these, on average, where the probabilities are right. They are right by construction in the first
row, whose true counts are drawn from them; in the second, the counts are the photos' own.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.accuracy_on_list import CLASSES, Floats, read
from tasks.evaluation.triage import SHARE
from tasks.nightly.thresholds import PLANTED, plant_errors

COUNTS = np.array(CLASSES)
BIG = 2


def planting() -> Floats:
    """Probability of each record (column) given the true count (row), shape (5, 5); see `plant_errors`."""
    wrong = np.isin(COUNTS[None, :] - COUNTS[:, None], PLANTED)
    records: Floats = SHARE * wrong / wrong.sum(axis=1, keepdims=True) + (1 - SHARE) * np.eye(len(COUNTS))
    return records


def found(probabilities: Floats, truth: NDArray[np.int_], seed: int) -> tuple[float, float]:
    """Share of the large errors in the first tenth, and of errors of any size among the first fifty."""
    record = np.array(plant_errors(truth.tolist(), SHARE, seed, CLASSES))
    posterior = probabilities * planting()[:, record - COUNTS[0]].T
    posterior /= posterior.sum(axis=1, keepdims=True)
    off = abs(COUNTS[None, :] - record[:, None])
    really = abs(truth - record)
    first = np.argsort(-(posterior * (off >= BIG)).sum(axis=1))[: len(truth) // 10]
    fifty = np.argsort(-(posterior * (off > 0)).sum(axis=1))[:50]
    return float((really[first] >= BIG).sum() / (really >= BIG).sum()), float((really[fifty] > 0).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", type=Path)
    parser.add_argument("plantings", type=int, nargs="?", default=200)
    options = parser.parse_args()
    answers = read(options.answers, "test")
    edges = answers.probabilities.cumsum(axis=1)
    rows: dict[str, list[tuple[float, float]]] = {"counts drawn from its probabilities": [], "the photos' own": []}
    for seed in track(range(options.plantings), console=Console(stderr=True)):
        chance = np.random.default_rng(seed).random((len(edges), 1)) * edges[:, -1:]
        drawn = COUNTS[(chance >= edges).sum(axis=1)]
        for name, truth in zip(rows, (drawn, answers.truth), strict=True):
            rows[name].append(found(answers.probabilities, truth, seed))
    table = Table(
        "true counts", "large errors in the first tenth", "precision@50", title=f"{len(edges)} photos in range"
    )
    for name, figures in rows.items():
        table.add_row(name, *(f"{share:.1%}" for share in np.mean(figures, axis=0)))
    Console().print(table)


if __name__ == "__main__":
    main()
