"""The JSONPath of batch transform's `InputFilter` and `OutputFilter`.

AWS supports a subset, and so does this: `$`, `.name`, `.*`, `['a','b']`, `[1]`, `[1,3,5]`, `[0,5:]`, `[2:5]`.
The end of a slice is included, as AWS documents: `$[1:4]` is the second through the fifth column. Source:
"Associate Prediction Results with Input Records" in the SageMaker developer guide.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.errors import ValidationException

_STEP = re.compile(r"\.(?P<name>[A-Za-z_][\w-]*|\*)|\.?\[(?P<inside>[^\]]+)\]")
_NAME = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_NUMBER = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d*):(-?\d*)")

Step = Callable[[Any], Any]


class FilterError(Exception):
    """A record that has not what the filter asks for."""


@dataclass(frozen=True)
class Filter:
    """A parsed filter; call it with a record."""

    text: str
    steps: tuple[Step, ...]

    @property
    def keeps_all(self) -> bool:
        """Whether the filter is `$`, which changes nothing."""
        return not self.steps

    def __call__(self, record: Any) -> Any:
        """The selected part of a record. Raises FilterError where the record lacks it."""
        for step in self.steps:
            try:
                record = step(record)
            except (KeyError, IndexError, TypeError) as error:
                raise FilterError(f"the record has nothing at {self.text}: {error!r}") from error
        return record


def parse_filter(text: str, member: str) -> Filter:
    """Read a filter; raises ValidationException, naming the request's member, for what is not supported."""
    if not text.startswith("$"):
        raise ValidationException(f"{member} {text!r} is not a JSONPath: it must start with $")
    steps: list[Step] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise _unsupported(text, member)
        if match["name"]:
            steps.append(_wildcard if match["name"] == "*" else _members([match["name"]]))
        else:
            steps.append(_bracket(match["inside"], text, member))
        at = match.end()
    return Filter(text, tuple(steps))


def _unsupported(text: str, member: str) -> ValidationException:
    return ValidationException(
        f"{member} {text!r}: SageMaker's JSONPath has only $, .name, .*, ['name','name'], [1,3] and [1:5]"
    )


def _bracket(inside: str, text: str, member: str) -> Step:
    parts = [part.strip() for part in inside.split(",")]
    if parts == ["*"]:
        return _wildcard
    names = [_NAME.fullmatch(part) for part in parts]
    if all(names):
        return _members([found[1] if found[1] is not None else found[2] for found in names if found])
    if not all(_NUMBER.fullmatch(part) or _SLICE.fullmatch(part) for part in parts):
        raise _unsupported(text, member)
    return _elements(parts)


def _wildcard(value: Any) -> Any:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list):
        return value
    raise TypeError("* needs an object or an array")


def _members(names: list[str]) -> Step:
    def select(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"{names} need an object")
        return value[names[0]] if len(names) == 1 else {name: value[name] for name in names}

    return select


def _elements(parts: list[str]) -> Step:
    def select(value: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"[{','.join(parts)}] needs an array")
        if len(parts) == 1 and ":" not in parts[0]:
            return value[int(parts[0])]
        chosen: list[Any] = []
        for part in parts:
            if ":" in part:
                chosen.extend(value[_inclusive(part, len(value))])
            else:
                chosen.append(value[int(part)])
        return chosen

    return select


def _inclusive(part: str, length: int) -> slice:
    start, end = part.split(":")
    first = int(start) if start else 0
    last = int(end) if end else length - 1
    last = last + length if last < 0 else last
    if last >= length:
        raise IndexError(f"[{part}] reaches beyond the {length} elements")
    return slice(first + length if first < 0 else first, last + 1)
