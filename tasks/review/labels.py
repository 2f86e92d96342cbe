"""Answers as labels: what people settled, for `prepare_data --labels`; the record's number is overruled by it."""

from pathlib import Path

import pyarrow as pa

from tasks.ledger.export import write_parquet
from tasks.ledger.ledger import Ledger
from tasks.review.queue import answered

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


def export_labels(ledger: Ledger, path: Path) -> int:
    """Write every settled photo whose count is a number to Parquet; return how many there are.

    "Ten or more" is no number and "unclear" no label: such photos are left out.
    """
    rows = []
    for item in sorted(answered(ledger), key=lambda item: (item.row.bucket, item.row.key, item.row.photo)):
        settled = item.settled
        if settled is None or not settled.isdigit():
            continue
        rows.append(
            {
                "id": item.row.photo_id,
                "count": int(settled),
                "bucket": item.row.bucket,
                "key": item.row.key,
                "etag": item.row.etag,
                "expected": item.row.expected,
                "reviewers": [who for who, said in item.answers if said == settled],
            }
        )
    write_parquet(path, LABELS_SCHEMA, iter([pa.Table.from_pylist(rows, LABELS_SCHEMA)]))
    return len(rows)
