"""The data stage as Prefect tasks: thin wrappers that name, retry and report; the work is in plain functions."""

import logging
from collections import Counter
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.data import grouping, listing_stage, manifest, metadata_stage, photos, placements, shards, sources, upload
from tasks.data.catalog import CatalogSummary, refuse_too_many_bad, write_catalog
from tasks.data.chunk_processes import apart
from tasks.data.chunks import Chunk
from tasks.data.contact_sheet import write_contact_sheets
from tasks.data.labels import count_listed
from tasks.data.manifest import Recipe
from tasks.data.metadata_stage import MetadataCounts
from tasks.data.photos import PhotoCounts
from tasks.data.prepared_data import SPLITS, PrepareParameters, SplitName
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
from tasks.data.workspace import Workspace
from tasks.object_store import ensure_bucket
from tasks.retries import RETRIES

SplitCounter = dict[SplitName, Counter[int]]

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
    listed = listing_stage.write_initial_listing(workspace, source, parameters)
    if parameters.labels is not None:
        hits, labels = count_listed(workspace)
        get_run_logger().log(
            logging.INFO if hits else logging.WARNING, "%d of %d labels are of listed photos", hits, labels
        )
    return listed


@task(name="build-list", task_run_name="list of {parameters.dataset_name} from its metadata", **_OPTIONS)
def build_list(workspace: Workspace, parameters: PrepareParameters) -> int:
    """Build the list from the metadata of the whole bucket; report the records that say no count."""
    built = listing_stage.build_listing_from_metadata(workspace, parameters)
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
    return tidy(workspace)


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
    found = grouping.group_photos(workspace)
    published = placements.published_placements(workspace, uri, parameters.split, parameters.seed)
    split = grouping.split_photos(workspace, found, parameters.split, parameters.seed, published)
    if ungrouped := ungrouped_text(split):
        get_run_logger().warning("%s", ungrouped)
    summary = write_catalog(workspace, found.groups, found.duplicate_of, split.splits)
    counts: SplitCounter = {name: Counter() for name in SPLITS}
    for placed, count in zip(split.splits, found.counts, strict=True):
        if placed is not None:
            counts[placed][count or 0] += 1
    write_split_report(workspace, split, counts, parameters.split)
    publish_tables(parameters.dataset_name, summary, split, counts, parameters.split)
    refuse_too_many_bad(summary, parameters.max_bad_fraction, workspace)
    return summary, counts


@task(name="contact-sheets", task_run_name="contact sheets of {dataset}", **_OPTIONS)
def draw_contact_sheets(workspace: Workspace, dataset: str) -> None:
    """Draw a contact sheet for each count."""
    publish_contact_sheets(dataset, write_contact_sheets(workspace))


@task(name="plan-shards", task_run_name="plan of shards of {size} pixels", **_OPTIONS)
def plan_shards(workspace: Workspace, size: int) -> list[Pack]:
    """Decide which photo goes into which shard."""
    return shards.plan_shards(workspace, size)


@task(name="pack-shards", task_run_name="shards {pack.number} of {pack.of}", **_OPTIONS)
def pack_shards(pack: Pack) -> PackCounts:
    """Write some shards."""
    return apart(shards.write_pack, pack)


@task(name="compare-with-s3", task_run_name="compare with {uri}", **_OPTIONS)
def plan_upload(workspace: Workspace, uri: str) -> upload.UploadPlan:
    """Compare what the dataset should be on S3 with what is there."""
    return upload.plan_upload(workspace, uri, shards.shard_files(workspace))


@task(name="upload", task_run_name="upload {part.number} of {part.of}", **_OPTIONS)
def put_objects(part: Upload) -> int:
    """Put some objects on S3."""
    return apart(upload.put_objects, part)


@task(name="seal", task_run_name="seal {uri}", **_OPTIONS)
def seal(workspace: Workspace, uri: str, recipe: Recipe, to_delete: list[str]) -> str:
    """Upload placements and the manifest, delete what is in the dataset no more; return the manifest's SHA-256."""
    # Placements first: a dataset that can be learned from is never there without them.
    placements.publish_placements(workspace, uri, recipe.split, recipe.seed)
    digest = manifest.write_manifest(workspace, recipe, shards.shard_files(workspace))
    manifest.upload_manifest(workspace, uri)
    if to_delete:
        upload.delete_objects(uri, to_delete)
    return digest
