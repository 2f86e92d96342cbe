"""The data stage as Prefect tasks: thin wrappers that name, retry and report; the work is in plain functions."""

import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.data import listing_stage, metadata_stage, photos, shards, sources, upload, whole_list
from tasks.data.catalog import CatalogSummary, refuse_too_many_bad
from tasks.data.chunk_processes import apart, aside, make_room
from tasks.data.chunks import PHOTOS_A_CHUNK, Chunk, length
from tasks.data.contact_sheet import write_contact_sheets
from tasks.data.label_bytes import leave_out_labels_of_other_bytes
from tasks.data.labels import count_listed
from tasks.data.manifest import Recipe
from tasks.data.metadata_stage import MetadataCounts
from tasks.data.photos import PhotoCounts
from tasks.data.prepared_data import PrepareParameters
from tasks.data.report import (
    publish_contact_sheets,
    publish_left_out,
    publish_tables,
    ungrouped_text,
    write_split_report,
)
from tasks.data.shards import Pack, PackCounts
from tasks.data.sources import Source
from tasks.data.tidy import tidy
from tasks.data.upload import Upload
from tasks.data.whole_list import SplitCounter
from tasks.data.workspace import Workspace
from tasks.object_store import ensure_bucket
from tasks.retries import RETRIES

Options = ParamSpec("Options")
Result = TypeVar("Result")

VERY_LONG = 100_000
"""Photos of a list that takes so much memory as a whole that the other workers end before it is worked on."""

_NAMED = 20
"""So many ids are named in a line of the log."""

_OPTIONS: dict[str, Any] = {**RETRIES, "persist_result": False, "cache_policy": NO_CACHE}


@task(name="open-destination", task_run_name="open {uri}", **_OPTIONS)
def open_destination(uri: str) -> None:
    """Make sure that the dataset's bucket is there, before anything is fetched for it."""
    ensure_bucket(uri)


@task(name="open-source", task_run_name="open {parameters.source}", **_OPTIONS)
def open_source(parameters: PrepareParameters, demo_bucket: str, cloud: str) -> Source:
    """Open the source; render the demo's photos if it is the demo."""
    return sources.open_source(parameters, demo_bucket=demo_bucket, cloud=cloud)


@task(name="read-list", task_run_name="list of {parameters.dataset_name}", **_OPTIONS)
def read_list(workspace: Workspace, source: Source, parameters: PrepareParameters) -> int:
    """Read the file list, or list the bucket."""
    # How long it is, is known afterwards only.
    listed = aside(listing_stage.write_initial_listing, workspace, source, parameters)
    if parameters.labels is not None:
        others = aside(leave_out_labels_of_other_bytes, workspace, source, refresh=parameters.refresh)
        if others:
            get_run_logger().warning(
                "%d labels are of other bytes than the photos of the source, by their ETags, and are left out: %s%s",
                len(others),
                ", ".join(others[:_NAMED]),
                ", ..." if len(others) > _NAMED else "",
            )
        hits, labels = count_listed(workspace)
        get_run_logger().log(
            logging.INFO if hits else logging.WARNING, "%d of %d labels are of listed photos", hits, labels
        )
    return listed


@task(name="build-list", task_run_name="list of {parameters.dataset_name} from its metadata", **_OPTIONS)
def build_list(workspace: Workspace, parameters: PrepareParameters) -> int:
    """Build the list from the metadata of the whole bucket; report the records that say no count."""
    built = _of_whole_list(listing_stage.build_listing_from_metadata, workspace, parameters)
    if built.left_out:
        get_run_logger().warning(
            "%d of %d records say no count, so their photos are in no list: %s",
            len(built.left_out),
            built.records,
            workspace.left_out,
        )
        publish_left_out(parameters.dataset_name, built)
    return built.listed


@task(name="fetch-metadata", task_run_name="metadata {chunk.number} of {chunk.of}", **_OPTIONS)
def fetch_metadata(chunk: Chunk, source: Source, refresh: bool) -> MetadataCounts:
    """Fetch one chunk's metadata."""
    return apart(metadata_stage.fetch_metadata, chunk, source, refresh=refresh)


@task(name="tidy-folders", task_run_name="tidy {workspace.folder.name}", **_OPTIONS)
def tidy_folders(workspace: Workspace) -> dict[str, int]:
    """Move photos to where the list and the metadata say that they belong."""
    return _of_whole_list(tidy, workspace)


@task(name="fetch-photos", task_run_name="photos {chunk.number} of {chunk.of}", **_OPTIONS)
def fetch_photos(chunk: Chunk, source: Source, refresh: bool) -> PhotoCounts:
    """Fetch and check one chunk's photos."""
    return apart(photos.fetch_photos, chunk, source, refresh=refresh)


@task(name="catalog-and-split", task_run_name="catalog and split of {parameters.dataset_name}", **_OPTIONS)
def catalog_and_split(
    workspace: Workspace, uri: str, parameters: PrepareParameters
) -> tuple[CatalogSummary, SplitCounter]:
    """Group, split, write the catalog, report; returns the catalog's summary, and photos by split and count.

    Raises:
        TooManyBadPhotosError: a larger share of the photos is bad than ``parameters`` allow, or none is usable.
    """
    summary, split, counts = _of_whole_list(whole_list.catalog_and_split, workspace, uri, parameters)
    if ungrouped := ungrouped_text(split):
        get_run_logger().warning("%s", ungrouped)
    write_split_report(workspace, split, counts, parameters.split)
    publish_tables(parameters.dataset_name, summary, split, counts, parameters.split)
    refuse_too_many_bad(summary, parameters.max_bad_fraction, workspace)
    return summary, counts


@task(name="contact-sheets", task_run_name="contact sheets of {dataset}", **_OPTIONS)
def draw_contact_sheets(workspace: Workspace, dataset: str) -> None:
    """Draw a contact sheet for each count."""
    publish_contact_sheets(dataset, _of_whole_list(write_contact_sheets, workspace))


@task(name="plan-shards", task_run_name="plan of shards of {size} pixels", **_OPTIONS)
def plan_shards(workspace: Workspace, size: int) -> list[Pack]:
    """Decide which photo goes into which shard."""
    return _of_whole_list(shards.plan_shards, workspace, size)


@task(name="pack-shards", task_run_name="shards {pack.number} of {pack.of}", **_OPTIONS)
def pack_shards(pack: Pack) -> PackCounts:
    """Write some shards."""
    return apart(shards.write_pack, pack)


@task(name="compare-with-s3", task_run_name="compare with {uri}", **_OPTIONS)
def plan_upload(workspace: Workspace, uri: str) -> upload.UploadPlan:
    """Compare what the dataset should be on S3 with what is there."""
    return _of_whole_list(whole_list.plan_upload, workspace, uri)


@task(name="upload", task_run_name="upload {part.number} of {part.of}", **_OPTIONS)
def put_objects(part: Upload) -> int:
    """Put some objects on S3."""
    return apart(upload.put_objects, part)


@task(name="seal", task_run_name="seal {uri}", **_OPTIONS)
def seal(workspace: Workspace, uri: str, recipe: Recipe, to_delete: list[str]) -> str:
    """Upload placements and the manifest, delete what is in the dataset no more; return the manifest's SHA-256."""
    return _of_whole_list(whole_list.seal, workspace, uri, recipe, to_delete)


def _of_whole_list(
    function: Callable[Concatenate[Workspace, Options], Result],
    workspace: Workspace,
    *arguments: Options.args,
    **options: Options.kwargs,
) -> Result:
    """Do what takes memory that grows with the list in a process of its own, unless the list makes one chunk only."""
    photos = length(workspace)
    if photos < 2 * PHOTOS_A_CHUNK:
        return function(workspace, *arguments, **options)
    if photos >= VERY_LONG:
        make_room()
    return aside(function, workspace, *arguments, **options)
