"""Metrics out of a job's log, by the regular expressions of its MetricDefinitions."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from localcloud import logs
from localcloud.errors import ValidationException
from localcloud.logs import Event
from localcloud.store import Document


@dataclass
class MetricScanner:
    """Reads logs as they grow. ``latest`` has each metric's last (value, seconds since the epoch)."""

    definitions: list[Document]
    logs: list[Path]
    latest: dict[str, tuple[float, float]] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    _places: dict[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._patterns = [(item["Name"], re.compile(item["Regex"])) for item in self.definitions]

    def scan(self) -> bool:
        """Read what is new; returns whether any metric changed."""
        if not self._patterns:
            return False
        changed = False
        for log in self.logs:
            file = (
                log.resolve()
            )  # after a spot interruption the link points to another file, which is read from its start
            for event in logs.read(file, self._places.get(file, 0)):
                self._places[file] = event.end
                changed |= self._read(event)
        return changed

    def _read(self, event: Event) -> bool:
        changed = False
        for name, pattern in self._patterns:
            match = pattern.search(event.message)
            value = _number(match)
            if value is not None:
                self.latest[name] = (value, event.timestamp / 1000)
                self.history.setdefault(name, []).append(value)
                changed = True
        return changed

    def final(self) -> list[Document]:
        """The metrics as FinalMetricDataList has them."""
        return [{"MetricName": name, "Value": value, "Timestamp": at} for name, (value, at) in self.latest.items()]


def check(definitions: list[Document]) -> None:
    """Raise ValidationException for a regular expression that cannot be used."""
    for definition in definitions:
        try:
            re.compile(definition["Regex"])
        except re.error as error:
            raise ValidationException(
                f"Invalid metric definition {definition['Name']}: {definition['Regex']!r} is not a regular "
                f"expression ({error})"
            ) from None


def _number(match: re.Match[str] | None) -> float | None:
    """The first group as a finite number; anything else is no metric, as on AWS."""
    if match is None or not match.groups():
        return None
    try:
        value = float(match.group(1))
    except (TypeError, ValueError):
        return None
    return value if abs(value) < float("inf") else None
