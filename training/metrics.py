"""What is measured, the lines that say it in a log, and the regular expressions that read it there."""

import dataclasses
import math
import re

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Metric:
    """One figure in a job's log.

    Attributes:
        key: in `Metrics` and in summaries.
        label: in the log line.
        name: as SageMaker's consoles and tuning jobs call it.
    """

    key: str
    label: str
    name: str

    @property
    def regex(self) -> str:
        """What SageMaker finds the value with."""
        return rf"{self.label}: ([0-9\.]+)"

    def line(self, value: float) -> str:
        """The log line that `regex` reads."""
        return f"{self.label}: {value:.6f}"


METRICS = (
    Metric("loss", "Testing Loss", "average test loss"),
    Metric("accuracy", "Testing Accuracy", "test accuracy"),
    Metric("rmse", "Testing RMSE", "test rmse"),
    Metric("mae", "Testing MAE", "test mae"),
    Metric("within_one", "Testing Within One", "test within one"),
)
OBJECTIVE = METRICS[0]


def definitions() -> list[dict[str, str]]:
    """`MetricDefinitions` as CreateTrainingJob takes them."""
    return [{"Name": metric.name, "Regex": metric.regex} for metric in METRICS]


def measure(probabilities: Tensor, counts: Tensor, classes: tuple[int, ...]) -> dict[str, float]:
    """Measure predictions against the truth.

    Args:
        probabilities: shape (N, classes), rows sum to one.
        counts: true counts, shape (N,), each of them in ``classes``.
        classes: the count that each column stands for.

    Returns:
        loss (mean negative log-likelihood, nats), accuracy (share exactly right), rmse and mae (objects, of
        the most probable count), within_one (share at most one off).
    """
    values = torch.tensor(classes)
    truth = torch.searchsorted(values, counts)
    predicted = values[probabilities.argmax(dim=1)]
    error = (predicted - counts).double()
    likelihood = probabilities.double().gather(1, truth[:, None]).clamp_min(1e-12)
    return {
        "loss": float(-likelihood.log().mean()),
        "accuracy": float((error == 0).double().mean()),
        "rmse": math.sqrt(float((error**2).mean())),
        "mae": float(error.abs().mean()),
        "within_one": float((error.abs() <= 1).double().mean()),
    }


def lines(values: dict[str, float]) -> list[str]:
    """The log lines of a final measurement."""
    return [metric.line(values[metric.key]) for metric in METRICS]


def read(log: str) -> dict[str, float]:
    """The last value of each metric in a log, as SageMaker would read it."""
    found = {metric.key: re.findall(metric.regex, log) for metric in METRICS}
    return {key: float(values[-1]) for key, values in found.items() if values}
