"""Answers as labels: what people settled, for `prepare_data --labels`; the record's number is overruled by it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.ledger.export import write_parquet
from tasks.ledger.ledger import Ledger
from tasks.review.queue import Flagged, answered

LABELS_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "count": pa.int32(),
        "bucket": pa.string(),
        "key": pa.string(),
        "etag": pa.string(),
        "expected": pa.int32(),
        "reviewers": pa.list_(pa.string()),
    }
)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What became of the answers: labels written, and ids left out since their photos have different counts."""

    labels: int
    contradictory: tuple[str, ...]


def export_labels(ledger: Ledger, path: Path) -> Exported:
    """Write every settled photo whose count is a number to Parquet, each id once.

    "Ten or more" is no number and "unclear" no label: such photos are left out. Training knows a photo by the name of
    its file alone, so photos of one name are one label where they agree, and none where they don't.
    """
    by_id: dict[str, list[dict[str, Any]]] = {}
    for item in sorted(answered(ledger), key=lambda item: (item.row.bucket, item.row.key, item.row.photo)):
        if label := _label(item):
            by_id.setdefault(item.row.photo_id, []).append(label)
    contradictory = tuple(sorted(name for name, same in by_id.items() if len({each["count"] for each in same}) > 1))
    rows = [_merged(same) for name, same in by_id.items() if name not in contradictory]
    write_parquet(path, LABELS_SCHEMA, iter([pa.Table.from_pylist(rows, LABELS_SCHEMA)]))
    return Exported(len(rows), contradictory)


def _label(item: Flagged) -> dict[str, Any] | None:
    settled = item.settled
    if settled is None or not settled.isdigit():
        return None
    return {
        "id": item.row.photo_id,
        "count": int(settled),
        "bucket": item.row.bucket,
        "key": item.row.key,
        "etag": item.row.etag,
        "expected": item.row.expected,
        "reviewers": [who for who, said in item.answers if said == settled],
    }


def _merged(same: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return same[0] | {"reviewers": list(dict.fromkeys(who for each in same for who in each["reviewers"]))}
