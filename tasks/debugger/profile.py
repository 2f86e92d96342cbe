"""The profile of a job, read by smdebug's own readers, in the numbers that rules and report need."""

import dataclasses
from pathlib import Path

from smdebug.core.logger import get_logger
from smdebug.profiler.algorithm_metrics_reader import LocalAlgorithmMetricsReader
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader

_EVER = 2**62


@dataclasses.dataclass(frozen=True)
class Span:
    """One stretch of time of the loop; times in seconds since the epoch."""

    name: str
    operation: str
    start: float
    seconds: float
    step: int | None


class Profile:
    """System samples and spans of a job.

    Attributes:
        series: values by "<type>/<name>/<dimension>", each a list of (time in seconds, value), in order.
        spans: of the loop, in order.
    """

    def __init__(self, folder: Path, name: str = "profile") -> None:
        self.name, self.path, self.logger = name, str(folder), get_logger()
        self.series: dict[str, list[tuple[float, float]]] = {}
        for event in LocalSystemMetricsReader(str(folder)).get_events(0, _EVER):
            key = f"{event.type}/{event.name}/{event.dimension}"
            self.series.setdefault(key, []).append((float(event.timestamp), float(event.value)))
        for values in self.series.values():
            values.sort()
        found = LocalAlgorithmMetricsReader(str(folder)).get_events(0, _EVER)
        spans = [
            Span(e.event_phase, e.event_name, e.start_time / 1e6, e.duration / 1e6, _step(e.event_args)) for e in found
        ]
        self.spans = sorted(spans, key=lambda span: span.start)

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.series or self.spans)

    def of(self, kind: str, dimension: str) -> dict[str, list[tuple[float, float]]]:
        """The series of a dimension, by device."""
        return {
            key.split("/")[-2]: values
            for key, values in sorted(self.series.items())
            if key.startswith(f"{kind}/") and key.endswith(f"/{dimension}")
        }

    def mean(self, kind: str, dimension: str) -> list[float]:
        """Mean over the devices, sample by sample."""
        columns = [[value for _, value in values] for values in self.of(kind, dimension).values()]
        return [sum(row) / len(row) for row in zip(*columns, strict=False)]

    def step_seconds(self, mode: str) -> list[tuple[int, float]]:
        """Step number and duration of each step of "train" or "eval"; of a step done twice, the last time."""
        wanted = f"Step:ModeKeys.{mode.upper()}"
        return sorted(
            {span.step: span.seconds for span in self.spans if span.name == wanted and span.step is not None}.items()
        )

    def seconds_by(self, name_starts: str) -> dict[str, float]:
        """Seconds by operation, of the spans whose name begins so; of a step done twice, the last time."""
        last: dict[tuple[str, object], float] = {}
        for number, span in enumerate(self.spans):
            if span.name.startswith(name_starts):
                last[span.operation, f"span {number}" if span.step is None else span.step] = span.seconds
        total: dict[str, float] = {}
        for (operation, _), seconds in last.items():
            total[operation] = total.get(operation, 0.0) + seconds
        return total


def _step(told: object) -> int | None:
    return int(told["step_num"]) if isinstance(told, dict) and "step_num" in told else None
