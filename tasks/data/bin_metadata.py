"""ABID's metadata records: what one file says about a bin, checked, with whatever is odd flagged."""

import json
from typing import Annotated, Any

import pyarrow as pa
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

_LARGEST_COUNT = 9_999
_LARGEST_SUM = 2**31 - 1
_LONGEST_TEXT = 500


class Measure(BaseModel):
    """A number with its unit."""

    model_config = ConfigDict(allow_inf_nan=False)

    value: float = Field(ge=0)
    unit: str | None = None


def _unless_bad(value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """Read a measure; None, and a flag in the context, where it cannot be: no reason to lose the product."""
    try:
        return read(value)
    except ValidationError:
        if info.context is not None:
            info.context.add("measure_unreadable")
        return None


_Measured = Annotated[Measure | None, WrapValidator(_unless_bad)]


class Sku(BaseModel):
    """One product in a bin. Measures and name may be absent; a measure that cannot be read is as good as absent.

    The context of a validation is a set, which gets the flag ``measure_unreadable``.
    """

    asin: str = Field(min_length=1, max_length=64)
    quantity: int = Field(ge=0, le=_LARGEST_COUNT)
    name: str | None = None
    weight: _Measured = None
    length: _Measured = None
    width: _Measured = None
    height: _Measured = None

    def row(self) -> dict[str, Any]:
        """Return it as the catalog holds it: pounds and inches."""
        return {
            "asin": self.asin,
            "quantity": self.quantity,
            "name": _encodable(self.name[:_LONGEST_TEXT]) if self.name is not None else None,
            "pounds": self.weight.value if self.weight else None,
            "inches_long": self.length.value if self.length else None,
            "inches_wide": self.width.value if self.width else None,
            "inches_high": self.height.value if self.height else None,
        }


def _encodable(text: str) -> str:
    """Return ``text`` with "?" for what UTF-8 doesn't have: JSON can escape half a surrogate pair."""
    return text.encode(errors="replace").decode()


SKU_TYPE = pa.struct(
    {
        "asin": pa.string(),
        "quantity": pa.int32(),
        "name": pa.string(),
        "pounds": pa.float64(),
        "inches_long": pa.float64(),
        "inches_wide": pa.float64(),
        "inches_high": pa.float64(),
    }
)

METADATA_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "found": pa.bool_(),
        "metadata_etag": pa.string(),
        "count": pa.int32(),
        "quantity_sum": pa.int32(),
        "skus": pa.list_(SKU_TYPE),
        "flags": pa.list_(pa.string()),
    }
)
"""One row per metadata file. ``count`` is EXPECTED_QUANTITY, null where the record doesn't have a usable one."""

_COUNT: TypeAdapter[int] = TypeAdapter(int, config=ConfigDict(strict=True))
_UNITS = {"weight": "pounds", "length": "IN", "width": "IN", "height": "IN"}


MISSING, FORBIDDEN, UNREACHABLE = "metadata_missing", "metadata_forbidden", "metadata_unreachable"
WITHOUT_METADATA = frozenset((MISSING, FORBIDDEN, UNREACHABLE))
"""Flags of photos whose metadata nobody has read."""
READ_IN_PART = WITHOUT_METADATA | {"not_json", "not_a_record", "sku_unreadable"}
"""Flags of photos whose bins may hold products that nobody has read."""
WITHOUT_COUNT = WITHOUT_METADATA | {"not_json", "not_a_record", "no_expected_quantity"}
"""Flags of photos whose metadata says no count: each such photo has one of them."""


def absent_record(photo_id: str, why: str = MISSING) -> dict[str, Any]:
    """Return the row of an id whose metadata file isn't there, or can't be read; ``why`` is its flag."""
    return _row(photo_id, "", None, None, [], [why]) | {"found": False}


def read_record(photo_id: str, body: bytes, etag: str) -> dict[str, Any]:
    """Read one metadata file into a row of ``METADATA_SCHEMA``. Never fails: what is odd is flagged.

    Flags: ``not_json``, ``not_a_record``, ``no_expected_quantity``, ``sku_unreadable``, ``asin_differs``,
    ``measure_absent``, ``measure_unreadable``, ``unit_unknown``, ``quantity_differs`` (the SKUs' sum isn't the
    expected quantity).
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return _row(photo_id, etag, None, None, [], ["not_json"])
    if not isinstance(record, dict) or not isinstance(record.get("BIN_FCSKU_DATA", {}), dict):
        return _row(photo_id, etag, None, None, [], ["not_a_record"])
    flags: set[str] = set()
    count = _expected_quantity(record, flags)
    skus = []
    for asin, entry in record.get("BIN_FCSKU_DATA", {}).items():
        try:
            sku = Sku.model_validate(entry, context=flags)
        except ValidationError:
            flags.add("sku_unreadable")
            continue
        if sku.asin != asin:
            flags.add("asin_differs")
        for measure, unit in _UNITS.items():
            found = getattr(sku, measure)
            if entry.get(measure) is None:
                flags.add("measure_absent")
            elif found is not None and found.unit not in (None, unit):
                flags.add("unit_unknown")
        skus.append(sku.row())
    total = sum(sku["quantity"] for sku in skus)
    if count is not None and count != total:
        flags.add("quantity_differs")
    if total > _LARGEST_SUM:
        return _row(photo_id, etag, count, None, [], ["not_a_record"])
    return _row(photo_id, etag, count, total, skus, sorted(flags))


def _expected_quantity(record: dict[str, Any], flags: set[str]) -> int | None:
    try:
        count = _COUNT.validate_python(record.get("EXPECTED_QUANTITY"))
    except ValidationError:
        count = -1
    if 0 <= count <= _LARGEST_COUNT:
        return count
    flags.add("no_expected_quantity")
    return None


def _row(
    photo_id: str, etag: str, count: int | None, total: int | None, skus: list[Any], flags: list[str]
) -> dict[str, Any]:
    return {
        "id": photo_id,
        "found": True,
        "metadata_etag": etag,
        "count": count,
        "quantity_sum": total,
        "skus": skus,
        "flags": flags,
    }
