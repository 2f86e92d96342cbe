"""Checks a request against the service's own model, and words the complaint as AWS does."""

import functools
import math
import re
from collections.abc import Iterator
from typing import Any, cast

from botocore.model import ListShape, MapShape, Shape, StructureShape

from localcloud.errors import AwsError, ValidationException

_WIRE_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (int, float, str),
    "blob": (bytes, str),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
}
_NAMES = {
    str: "STRING_VALUE", bool: "TRUE_VALUE", int: "NUMBER_VALUE", float: "NUMBER_VALUE",
    dict: "Start of structure or map found where not expected.", list: "Start of list found where not expected.",
}  # fmt: skip


def validate(request: dict[str, Any], shape: StructureShape | None) -> None:
    """Check a parsed request against its input shape.

    Raises SerializationException for a wrong JSON type and ValidationException, listing every broken
    constraint, for everything else. Members that the model does not know are ignored, as AWS does.
    """
    if shape is None:
        return
    problems = list(_structure_problems(request, shape, ""))
    if problems:
        noun = "error" if len(problems) == 1 else "errors"
        raise ValidationException(f"{len(problems)} validation {noun} detected: {'; '.join(problems)}")


def _problems(value: Any, shape: Shape, path: str) -> Iterator[str]:
    _require_type(value, shape)
    if isinstance(shape, StructureShape):
        yield from _structure_problems(value, shape, path)
    elif isinstance(shape, ListShape):
        yield from _length_problems(value, shape, path)
        for number, item in enumerate(value, 1):
            yield from _problems(item, shape.member, f"{path}.{number}.member")
    elif isinstance(shape, MapShape):
        yield from _length_problems(value, shape, path)
        for key, item in value.items():
            yield from _problems(key, shape.key, f"{path}.key")
            yield from _problems(item, shape.value, f"{path}.{key}.member")
    else:
        yield from _scalar_problems(value, shape, path)


def _structure_problems(value: dict[str, Any], shape: StructureShape, path: str) -> Iterator[str]:
    for name, member in shape.members.items():
        here = _join(path, name)
        given = value.get(name)
        if given is not None:
            yield from _problems(given, member, here)
        elif name in shape.required_members:
            yield _complaint(None, here, "Member must not be null")


def _scalar_problems(value: Any, shape: Shape, path: str) -> Iterator[str]:
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield _complaint(value, path, f"Member must satisfy enum value set: [{', '.join(allowed)}]")
        return
    if shape.type_name in ("string", "blob"):
        yield from _length_problems(value, shape, path)
        pattern = shape.metadata.get("pattern")
        if pattern and isinstance(value, str) and not _compiled(pattern).fullmatch(value):
            yield _complaint(value, path, f"Member must satisfy regular expression pattern: {pattern}")
    elif shape.type_name in ("integer", "long", "float", "double"):
        yield from _range_problems(value, shape, path)


def _length_problems(value: Any, shape: Shape, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if high is not None and len(value) > high:
        yield _complaint(value, path, f"Member must have length less than or equal to {high}")
    if low is not None and len(value) < low:
        yield _complaint(value, path, f"Member must have length greater than or equal to {low}")


def _range_problems(value: float, shape: Shape, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if high is not None and value > high:
        yield _complaint(value, path, f"Member must have value less than or equal to {high}")
    if low is not None and value < low:
        yield _complaint(value, path, f"Member must have value greater than or equal to {low}")


def _require_type(value: Any, shape: Shape) -> None:
    allowed = _WIRE_TYPES[shape.type_name]
    fits = isinstance(value, allowed) and not (isinstance(value, bool) and bool not in allowed)
    if shape.type_name in ("integer", "long") and isinstance(value, float) and value.is_integer():
        fits = math.isfinite(value)
    if not fits:
        found = _NAMES.get(type(value), "VALUE")
        wanted = {"integer": "an Integer", "boolean": "a Boolean", "long": "a Long"}.get(
            shape.type_name, f"a {shape.type_name.capitalize()}"
        )
        message = found if " " in found else f"{found} can not be converted to {wanted}"
        raise AwsError("SerializationException", message, 400)


def _join(path: str, name: str) -> str:
    name = name[0].lower() + name[1:]
    return f"{path}.{name}" if path else name


def _complaint(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{value if len(str(value)) < 300 else str(value)[:300] + '...'}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """AWS's patterns are Java's. The few that use Unicode classes need the ``regex`` package."""
    pattern = pattern.replace(r"\p{ASCII}", r"[\x00-\x7f]").replace(r"\p{Print}", r"\x20-\x7e")
    pattern = pattern.replace(r"\z", r"\Z").replace(r"\p{Alnum}", "A-Za-z0-9")
    if r"\p{" in pattern:
        import regex  # type: ignore[import-untyped]  # slow to import, and rarely needed

        return cast("re.Pattern[str]", regex.compile(pattern))
    return re.compile(pattern)
