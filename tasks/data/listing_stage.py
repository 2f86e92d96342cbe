"""Decides which photos a run is about: a file list, or everything in the bucket."""

import pyarrow as pa

from tasks.data.chunks import read_listing, write_listing
from tasks.data.file_list import SCHEMA, read_file_list, write_file_list
from tasks.data.labels import keep_labels
from tasks.data.metadata_stage import effective_counts
from tasks.data.photo_ids import PARTITIONS
from tasks.data.prepared_data import PrepareParameters
from tasks.data.sampling import limit_list
from tasks.data.sources import Source, list_source
from tasks.data.workspace import Workspace, explain_disk_errors
from training.errors import FileListError


def write_initial_listing(workspace: Workspace, source: Source, parameters: PrepareParameters) -> int:
    """Write the run's list: the limited file list, or (with ``all``) every id of the bucket; return its length."""
    keep_labels(workspace, parameters.labels)
    if parameters.all:
        listing = list_source(source)
    else:
        location = parameters.file_list or source.file_list
        there = location.startswith(f"{source.uri}/")
        listing = limit_list(
            read_file_list(location, endpoint=source.endpoint if there else None),
            limit=parameters.limit,
            per_class_limit=parameters.per_class_limit,
            seed=parameters.seed,
        )
    with explain_disk_errors(workspace.folder):
        write_listing(workspace, listing)
    return int(listing.num_rows)


def build_listing_from_metadata(workspace: Workspace, parameters: PrepareParameters) -> int:
    """Make the run's list from the metadata of all ids: classes and limits; write it as a file list if asked to.

    Raises:
        FileListError: no photo is of the classes that are wanted.
    """
    parts = []
    for partition in range(PARTITIONS):
        listing = read_listing(workspace, (partition,))
        counts = effective_counts(workspace, partition, listing).cast(pa.int32())
        parts.append(pa.table({"id": listing["id"], "listed_count": counts}, schema=SCHEMA))
    table = pa.concat_tables(parts)
    table = table.filter(pa.compute.is_valid(table["listed_count"]))
    if parameters.classes:
        wanted = pa.array(parameters.classes, pa.int32())
        table = table.filter(pa.compute.is_in(table["listed_count"], value_set=wanted))
    if table.num_rows == 0:
        raise FileListError(f"The bucket has no photo with a count in {list(parameters.classes)}.")
    table = limit_list(table, limit=parameters.limit, per_class_limit=parameters.per_class_limit, seed=parameters.seed)
    with explain_disk_errors(workspace.folder):
        write_listing(workspace, table)
        if parameters.write_file_list is not None:
            pairs = zip(table["id"].to_pylist(), table["listed_count"].to_pylist(), strict=True)
            write_file_list(pairs, parameters.write_file_list)
    return int(table.num_rows)
