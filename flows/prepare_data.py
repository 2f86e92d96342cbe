"""From a list of ids to trainable data on S3: ``python -m flows.prepare_data --help``."""

import sys
from typing import Any

from prefect import flow

from tasks.data import tasks as step
from tasks.data.catalog import CatalogSummary
from tasks.data.chunk_runner import Runner, chunk_runner, run_chunks
from tasks.data.chunks import split_into_chunks
from tasks.data.manifest import Recipe
from tasks.data.metadata_stage import MetadataCounts
from tasks.data.photos import PhotoCounts
from tasks.data.prepared_data import ImageCounts, PreparedData, PrepareParameters, SplitCounts
from tasks.data.sources import Source
from tasks.data.workspace import Workspace
from tasks.services import use_cloud
from tasks.settings import settings


@flow(name="prepare-data", flow_run_name="prepare {parameters.dataset_name}")
def prepare_data(parameters: PrepareParameters) -> PreparedData:
    """Fetch, check, split, pack and upload the photos that ``parameters`` name.

    Safe to kill and to repeat: it picks up where it stopped, and does only what isn't done.
    """
    here = settings()
    use_cloud(here)
    workspace = Workspace(here.home / "data" / parameters.dataset_name)
    uri = f"s3://{here.bucket}/datasets/{parameters.dataset_name}"
    with (
        workspace.in_use() as lock,
        chunk_runner(parameters.runner, parameters.dask_address, workspace_lock=lock) as runner,
    ):
        step.open_destination(uri)
        source = step.open_source(parameters, f"{here.bucket}-demo", here.target)
        if workspace.changes_source(source.identity):  # same ids, other photos: compare each with the source
            parameters = parameters.model_copy(update={"refresh": True})
        records = _list_photos(workspace, source, parameters, runner)
        photos = _fetch_photos(workspace, source, parameters, runner)
        given_up = sum(chunk.given_up for chunk in records) + sum(chunk.given_up for chunk in photos)
        workspace.remember_source(source.identity, given_up=given_up)
        summary, counts = step.catalog_and_split(workspace, uri, parameters)
        step.draw_contact_sheets(workspace, parameters.dataset_name)
        digest = _pack_and_upload(workspace, uri, parameters, runner)
    return PreparedData(
        dataset=parameters.dataset_name,
        source=parameters.source,
        folder=workspace.folder,
        catalog=workspace.catalog,
        uri=uri,
        digest=digest,
        images=_image_counts(summary, photos),
        splits=SplitCounts(**{split: n.total() for split, n in counts.items()}, grouped=parameters.split == "grouped"),
        counts={split: dict(sorted(n.items())) for split, n in counts.items()},
    )


def _list_photos(
    workspace: Workspace, source: Source, parameters: PrepareParameters, runner: Runner
) -> list[MetadataCounts]:
    """Write the run's list, and fetch the metadata of everything on it."""
    step.read_list(workspace, source, parameters)
    chunks = split_into_chunks(workspace)
    records = run_chunks(runner, step.fetch_metadata, _calls(chunks, "chunk", source, parameters), "Metadata")
    if parameters.all:
        step.build_list(workspace, parameters)
    return records


def _fetch_photos(
    workspace: Workspace, source: Source, parameters: PrepareParameters, runner: Runner
) -> list[PhotoCounts]:
    step.tidy_folders(workspace)
    chunks = split_into_chunks(workspace)
    return run_chunks(runner, step.fetch_photos, _calls(chunks, "chunk", source, parameters), "Photos")


def _pack_and_upload(workspace: Workspace, uri: str, parameters: PrepareParameters, runner: Runner) -> str:
    packs = step.plan_shards(workspace, parameters.shard_size)
    run_chunks(runner, step.pack_shards, [{"pack": pack} for pack in packs], "Shards")
    plan = step.plan_upload(workspace, uri)
    run_chunks(runner, step.put_objects, [{"part": part} for part in plan.uploads], "Upload")
    recipe = Recipe(
        dataset=parameters.dataset_name,
        source=parameters.source,
        seed=parameters.seed,
        split=parameters.split,
        shard_size=parameters.shard_size,
    )
    return step.seal(workspace, uri, recipe, plan.to_delete)


def _calls(chunks: list[Any], name: str, source: Source, parameters: PrepareParameters) -> list[dict[str, Any]]:
    return [{name: chunk, "source": source, "refresh": parameters.refresh} for chunk in chunks]


def _image_counts(summary: CatalogSummary, photos: list[PhotoCounts]) -> ImageCounts:
    by_status = summary.by_status
    corrupt = sum(n for status, n in by_status.items() if status.startswith("corrupt"))
    return ImageCounts(
        listed=summary.listed,
        downloaded=sum(chunk.downloaded for chunk in photos),
        reused=sum(chunk.reused for chunk in photos),
        missing=summary.listed - summary.usable - corrupt - by_status["unreachable"],
        unreachable=by_status["unreachable"],
        corrupt=corrupt,
        label_mismatch=summary.by_flag["list_differs"],
    )


if __name__ == "__main__":
    from flows.command_line import run

    sys.exit(run(prepare_data, PrepareParameters, "prepare_data"))
