"""What is done with a whole list at once, as plain functions that a worker process can be given."""

from collections import Counter

from tasks.data import grouping, manifest, placements, shards, upload
from tasks.data.catalog import CatalogSummary, write_catalog
from tasks.data.grouping import SplitPhotos
from tasks.data.manifest import Recipe
from tasks.data.prepared_data import SPLITS, PrepareParameters, SplitName
from tasks.data.workspace import Workspace

SplitCounter = dict[SplitName, Counter[int]]


def catalog_and_split(
    workspace: Workspace, uri: str, parameters: PrepareParameters
) -> tuple[CatalogSummary, SplitPhotos, SplitCounter]:
    """Group, split and write the catalog; returns its summary, the split, and photos by split and count."""
    found = grouping.group_photos(workspace)
    published = placements.published_placements(workspace, uri, parameters.split, parameters.seed)
    split = grouping.split_photos(workspace, found, parameters.split, parameters.seed, published)
    summary = write_catalog(workspace, found.groups, found.duplicate_of, split.splits)
    counts: SplitCounter = {name: Counter() for name in SPLITS}
    for placed, count in zip(split.splits, found.counts, strict=True):
        if placed is not None:
            counts[placed][count or 0] += 1
    return summary, split, counts


def plan_upload(workspace: Workspace, uri: str) -> upload.UploadPlan:
    """Compare what the dataset should be on S3 with what is there."""
    return upload.plan_upload(workspace, uri, shards.shard_files(workspace))


def seal(workspace: Workspace, uri: str, recipe: Recipe, to_delete: list[str]) -> str:
    """Upload placements and the manifest, delete what is in the dataset no more; return the manifest's SHA-256."""
    # Placements first: a dataset that can be learned from is never there without them.
    placements.publish_placements(workspace, uri, recipe.split, recipe.seed)
    digest = manifest.write_manifest(workspace, recipe, shards.shard_files(workspace))
    manifest.upload_manifest(workspace, uri)
    if to_delete:
        upload.delete_objects(uri, to_delete)
    return digest
