"""The catalog: one Parquet row per listed photo, and what is reported about them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.data.bin_metadata import MISSING, SKU_TYPE
from tasks.data.chunks import read_listing
from tasks.data.metadata_stage import align, effective_counts, metadata_state
from tasks.data.partition_state import write_batches
from tasks.data.photo_ids import PARTITIONS
from tasks.data.photos import photo_state
from tasks.data.prepared_data import SplitName
from tasks.data.sources import photo_key
from tasks.data.workspace import Workspace, explain_disk_errors
from training.errors import TooManyBadPhotosError

CATALOG_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("listed_count", pa.int32()),
        pa.field("count", pa.int32()),
        pa.field("quantity_sum", pa.int32()),
        pa.field("skus", pa.list_(SKU_TYPE)),
        pa.field("flags", pa.list_(pa.string())),
        pa.field("bin_group", pa.string()),
        pa.field("key", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("status", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("split", pa.string()),
    ]
)
"""``count`` is a person's label where there is one, else the expected quantity: the metadata's, or the list's.
``status`` is ok, missing, corrupt, unknown_count or unreachable, with a ``reason``. Rows are sorted by partition and
id."""

_JOINED = CATALOG_SCHEMA.remove(15).remove(14).remove(6)


def join_partition(workspace: Workspace, partition: int) -> pa.Table:
    """Join the list, the metadata and the photos of one partition: the catalog without groups and splits."""
    listing = read_listing(workspace, (partition,))
    ids = listing["id"]
    metadata = align(metadata_state(workspace, partition).table(), ids)
    photos = align(photo_state(workspace, partition).table(), ids)
    counts = effective_counts(workspace, partition, listing)
    statuses, reasons = _statuses(counts.to_pylist(), photos)
    good = pa.chunked_array([[status == "ok" for status in statuses]], pa.bool_())
    columns: dict[str, Any] = {
        "id": ids,
        "listed_count": listing["listed_count"],
        "count": counts,
        "quantity_sum": metadata["quantity_sum"],
        "skus": metadata["skus"],
        "flags": _flags(listing["listed_count"].to_pylist(), metadata),
        "key": [photo_key(str(photo_id)) for photo_id in ids.to_pylist()],
        "status": statuses,
        "reason": reasons,
    }
    for name in ("bytes", "sha256", "width", "height"):
        columns[name] = pc.if_else(good, photos[name], pa.scalar(None, photos[name].type))
    return pa.table({name: columns[name] for name in _JOINED.names}, schema=_JOINED)


def _statuses(counts: Sequence[Any], photos: pa.Table) -> tuple[list[str], list[str | None]]:
    statuses: list[str] = []
    reasons: list[str | None] = []
    rows: Any = zip(counts, photos["status"].to_pylist(), photos["reason"].to_pylist(), strict=True)
    for count, status, reason in rows:
        statuses.append("unknown_count" if count is None else status or "unreachable")
        reasons.append(reason or None if count is not None else None)
    return statuses, reasons


def _flags(listed: Sequence[Any], metadata: pa.Table) -> list[list[str]]:
    rows: Any = zip(
        listed,
        metadata["found"].to_pylist(),
        metadata["count"].to_pylist(),
        metadata["flags"].to_pylist(),
        strict=True,
    )
    return [
        (flags or ([] if found else [MISSING]))
        + (["list_differs"] if None not in (said, count) and said != count else [])
        for said, found, count, flags in rows
    ]


@dataclass
class CatalogSummary:
    """What the catalog holds, in numbers, with the first few names of whatever went wrong."""

    listed: int = 0
    usable: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_flag: Counter[str] = field(default_factory=Counter)
    by_count: Counter[int] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    duplicates: int = 0

    def add(self, rows: pa.Table) -> None:
        """Count one partition's rows."""
        names = ("id", "count", "status", "reason", "flags")
        columns: Any = zip(*(rows[name].to_pylist() for name in names), strict=True)
        for photo_id, count, status, reason, flags in columns:
            self.listed += 1
            self.by_flag.update(flags)
            what = f"{status}: {reason}" if reason else status
            self.by_status[what] += 1
            if status == "ok":
                self.usable += 1
                self.by_count[count] += 1
            for odd in (what, *flags) if status != "ok" else flags:
                if len(self.examples[odd]) < _EXAMPLES:
                    self.examples[odd].append(photo_id)


_EXAMPLES = 20


def refuse_too_many_bad(summary: CatalogSummary, most: float, workspace: Workspace) -> None:
    """Go on only if enough of the listed photos can be used.

    Raises:
        TooManyBadPhotosError: none can, or the share of those that cannot is above ``most``.
    """
    bad = summary.listed - summary.usable
    if summary.usable and bad <= most * summary.listed:
        return
    reasons = ", ".join(f"{n} {what}" for what, n in summary.by_status.most_common() if what != "ok")
    named = f"Each is named in {workspace.catalog}. Check the list and the source"
    if not summary.usable:
        raise TooManyBadPhotosError(f"None of the {bad} listed photos can be used ({reasons}). {named}.")
    raise TooManyBadPhotosError(
        f"{bad} of {summary.listed} listed photos cannot be used ({reasons}); {most:.0%} are allowed. {named}, or "
        "raise --max-bad-fraction."
    )


def write_catalog(
    workspace: Workspace, groups: Sequence[str], duplicate_of: dict[str, str], splits: Sequence[SplitName | None]
) -> CatalogSummary:
    """Write the catalog, partition after partition, and count what is in it.

    Args:
        workspace: Whose catalog.
        groups: The bin group of every listed photo, in the catalog's order.
        duplicate_of: For photos with the same bytes as another, that other's id.
        splits: The split of every listed photo, in the same order; None where it can't be used.
    """
    summary = CatalogSummary(duplicates=len(duplicate_of))
    with explain_disk_errors(workspace.folder):
        write_batches(_full_rows(workspace, groups, duplicate_of, splits, summary), workspace.catalog, CATALOG_SCHEMA)
    return summary


def _full_rows(
    workspace: Workspace,
    groups: Sequence[str],
    duplicate_of: dict[str, str],
    splits: Sequence[SplitName | None],
    summary: CatalogSummary,
) -> Iterator[pa.Table]:
    start = 0
    for partition in range(PARTITIONS):
        rows = join_partition(workspace, partition)
        ids: list[Any] = rows["id"].to_pylist()
        here = slice(start, start + len(ids))
        columns = {name: rows[name] for name in rows.column_names} | {
            "bin_group": pa.array(groups[here], pa.string()),
            "duplicate_of": pa.array([duplicate_of.get(i) for i in ids], pa.string()),
            "split": pa.array(splits[here], pa.string()),
        }
        start += len(ids)
        summary.add(rows)
        yield pa.table({name: columns[name] for name in CATALOG_SCHEMA.names}, schema=CATALOG_SCHEMA)


def read_usable(workspace: Workspace, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the catalog's rows of usable photos, some thousands at a time, with ``columns`` only."""
    with pq.ParquetFile(workspace.catalog) as file:
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number, columns=[*columns, "status"])
            yield rows.filter(pc.equal(rows["status"], "ok")).select(list(columns))
