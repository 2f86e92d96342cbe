"""Decides which photos a run is about: a file list, or everything in the bucket."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.atomic_file import write_atomically
from tasks.data.bin_metadata import MISSING, WITHOUT_COUNT
from tasks.data.chunks import read_listing, write_listing
from tasks.data.file_list import SCHEMA, check_place, read_file_list, write_file_list
from tasks.data.labels import keep_labels
from tasks.data.metadata_stage import align, effective_counts, metadata_state
from tasks.data.photo_ids import PARTITIONS
from tasks.data.prepared_data import PrepareParameters
from tasks.data.sampling import limit_list
from tasks.data.sources import Source, list_source
from tasks.data.workspace import Workspace, explain_disk_errors
from training.errors import FileListError


def write_initial_listing(workspace: Workspace, source: Source, parameters: PrepareParameters) -> int:
    """Write the run's list: the limited file list, or (with ``all``) every id of the bucket; return its length."""
    if parameters.write_file_list is not None:
        check_place(parameters.write_file_list)  # now, and not when all metadata has been read
    keep_labels(workspace, parameters.labels)
    if parameters.all:
        listing = list_source(source)
    else:
        location = parameters.file_list or source.file_list
        there = location.startswith(f"{source.uri}/")
        listing = limit_list(
            read_file_list(location, endpoint=source.endpoint, region=source.region)
            if there
            else read_file_list(location),
            limit=parameters.limit,
            per_class_limit=parameters.per_class_limit,
            seed=parameters.seed,
        )
    with explain_disk_errors(workspace.folder):
        workspace.left_out.unlink(missing_ok=True)  # an earlier run's
        write_listing(workspace, listing)
    return int(listing.num_rows)


@dataclass
class BuiltList:
    """What a list was built from: the bucket's records, less those that say no count, which are ``left_out``."""

    records: int = 0
    listed: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Id and flag of each."""

    def left_out_by_flag(self) -> Counter[str]:
        """Return how many are left out for which reason."""
        return Counter(flag for _, flag in self.left_out)

    def add_left_out(self, ids: pa.ChunkedArray, flags: pa.ChunkedArray) -> None:
        """Add records of a partition, with their flags."""
        rows: Any = zip(ids.to_pylist(), flags.to_pylist(), strict=True)
        for photo_id, found in rows:
            self.left_out.append((photo_id, next((flag for flag in found or () if flag in WITHOUT_COUNT), MISSING)))


def build_listing_from_metadata(workspace: Workspace, parameters: PrepareParameters) -> BuiltList:
    """Make the run's list from the metadata of all ids: classes and limits; write it as a file list if asked to.

    Photos whose records say no count cannot be listed in a class; ``reports/left-out.csv`` names them.

    Raises:
        FileListError: no photo is of the classes that are wanted.
    """
    parts = []
    built = BuiltList()
    for partition in range(PARTITIONS):
        listing = read_listing(workspace, (partition,))
        counts = effective_counts(workspace, partition, listing).cast(pa.int32())
        known = align(metadata_state(workspace, partition).table().select(["id", "count", "flags"]), listing["id"])
        parts.append(pa.table({"id": listing["id"], "listed_count": counts, "of_record": known["count"]}))
        without = pc.is_null(counts)
        built.add_left_out(listing["id"].filter(without), known["flags"].filter(without))
    table = pa.concat_tables(parts)
    built.records = table.num_rows
    with explain_disk_errors(workspace.folder):
        _name_left_out(workspace, built)
    table = table.filter(pc.is_valid(table["listed_count"]))
    if parameters.classes:
        wanted = pa.array(parameters.classes, pa.int32())
        table = table.filter(pc.is_in(table["listed_count"], value_set=wanted))
    if table.num_rows == 0:
        raise FileListError(
            f"The bucket has no photo with a count in {list(parameters.classes)}: {built.records} records were read, "
            f"{len(built.left_out)} of them say no count."
        )
    table = limit_list(table, limit=parameters.limit, per_class_limit=parameters.per_class_limit, seed=parameters.seed)
    with explain_disk_errors(workspace.folder):
        # A person's label makes a photo's class, but it isn't what the list says: only the record is.
        write_listing(workspace, pa.table({"id": table["id"], "listed_count": table["of_record"]}, schema=SCHEMA))
        if parameters.write_file_list is not None:
            pairs = zip(table["id"].to_pylist(), table["listed_count"].to_pylist(), strict=True)
            write_file_list(pairs, parameters.write_file_list)
    built.listed = table.num_rows
    return built


def _name_left_out(workspace: Workspace, built: BuiltList) -> None:
    if built.left_out:
        lines = [f"{photo_id},{flag}\n" for photo_id, flag in built.left_out]
        write_atomically(workspace.left_out, "".join(["id,flag\n", *lines]))
