"""Labels that people gave: they overrule what list and metadata say about a photo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.data.chunks import read_listing
from tasks.data.partition_state import write_table
from tasks.data.workspace import Workspace, explain_disk_errors
from training.errors import DataError

_SCHEMA = pa.schema({"id": pa.string(), "count": pa.int32(), "etag": pa.string()})
"""``etag`` is that of the bytes that were counted, and null where the file does not say."""


def keep_labels(workspace: Workspace, source: Path | None) -> int:
    """Take a file of labels into the workspace, or forget those that were there; return how many there are.

    Args:
        workspace: whose photos they are about.
        source: Parquet with the columns ``id`` and ``count``, and perhaps ``etag``, as
            ``python -m flows.review --export`` writes it.

    Raises:
        DataError: it cannot be read, its ids are no strings, or it holds counts that are none.
    """
    labels = _SCHEMA.empty_table() if source is None else _read(source)
    with explain_disk_errors(workspace.folder):
        if labels.num_rows or _file(workspace).exists():
            write_table(labels, _file(workspace))
    return int(labels.num_rows)


def overruled(workspace: Workspace, ids: pa.ChunkedArray, counts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return counts with people's labels in place of them where there are some."""
    if not _file(workspace).exists():
        return counts
    labels = pq.read_table(_file(workspace), schema=_SCHEMA)
    given = labels["count"].take(pc.index_in(ids, value_set=labels["id"].combine_chunks()))
    return pc.coalesce(given, counts)


def count_listed(workspace: Workspace) -> tuple[int, int]:
    """Return how many of the labels are of listed photos, and how many labels there are."""
    if not _file(workspace).exists():
        return 0, 0
    labels = pq.read_table(_file(workspace), schema=_SCHEMA)["id"]
    listed = read_listing(workspace)["id"].combine_chunks()
    return sum(pc.is_in(labels, value_set=listed).to_pylist()), len(labels)


def labelled_etags(workspace: Workspace) -> dict[str, str]:
    """Return the ETags of the bytes that were counted, by photo; those of which the file said none are absent."""
    if not _file(workspace).exists():
        return {}
    rows = pq.read_table(_file(workspace), schema=_SCHEMA).to_pylist()
    return {row["id"]: row["etag"] for row in rows if row["etag"]}


def drop_labels(workspace: Workspace, ids: Sequence[str]) -> None:
    """Forget the labels of these photos."""
    if ids:
        labels = pq.read_table(_file(workspace), schema=_SCHEMA)
        kept = labels.filter(pc.invert(pc.is_in(labels["id"], value_set=pa.array(ids, pa.string()))))
        with explain_disk_errors(workspace.folder):
            write_table(kept, _file(workspace))


def _file(workspace: Workspace) -> Path:
    return workspace.state / "labels.parquet"


def _read(source: Path) -> pa.Table:
    try:
        with source.expanduser().open("rb") as file:
            table = pq.read_table(file)
        if "etag" not in table.column_names:
            table = table.append_column("etag", pa.nulls(table.num_rows))
        table = table.select(["id", "count", "etag"])
        kind = table.schema.field("id").type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DataError(
                f"the ids in the labels {source} are {kind}, not strings: 00523 and 523 are different bins. Write the "
                "column as strings."
            )
        table = table.cast(_SCHEMA)
    except OSError as error:
        raise DataError(f"the labels {source} cannot be read: {error.strerror or error}") from error
    except (KeyError, pa.ArrowException) as error:
        raise DataError(f"the labels {source} cannot be read: {error}") from error
    counts: list[Any] = table["count"].to_pylist()
    if any(count is None or count < 0 for count in counts) or table["id"].null_count:
        raise DataError(f"the labels {source} hold a row without an id, or with a count that is none")
    if len(set(table["id"].to_pylist())) < table.num_rows:
        raise DataError(f"the labels {source} name a photo twice")
    return table
