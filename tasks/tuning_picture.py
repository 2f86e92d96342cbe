"""A picture of a tuning job's trials: what was tried, and what it gave."""

import base64
import io

from pydantic import BaseModel, ConfigDict, Field


class Trial(BaseModel):
    """One trial of a tuning job."""

    model_config = ConfigDict(frozen=True)

    name: str
    lr: float
    batch_size: int
    objective: float | None = Field(description="None where it came to no number.")
    status: str


def draw_trials(trials: list[Trial], title: str) -> bytes:
    """Draw the objective over the learning rate, a colour for each batch size, as PNG."""
    from matplotlib.figure import Figure  # takes a second to import, which a run that is refused need not spend

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    measured = [(trial, trial.objective) for trial in trials if trial.objective is not None]
    for size in sorted({trial.batch_size for trial, _ in measured}):
        points = [(trial.lr, value) for trial, value in measured if trial.batch_size == size]
        axes.scatter(*zip(*points, strict=True), label=f"batch size {size}")
    if measured:
        best, value = min(measured, key=lambda pair: pair[1])
        axes.annotate(
            f"{value:.4f}\nlr {best.lr:.4g}", (best.lr, value), textcoords="offset points", xytext=(8, 8), fontsize=9
        )
        axes.legend(frameon=False)
    failed = len(trials) - len(measured)
    axes.set(xscale="log", xlabel="learning rate", ylabel="average test loss", title=title)
    if failed:
        axes.text(0.01, 0.01, f"{failed} without a result", transform=axes.transAxes, fontsize=9)
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def as_data_uri(png: bytes) -> str:
    """The picture as an address that holds it, for an artifact."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
