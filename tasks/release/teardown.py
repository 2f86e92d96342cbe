"""Finds what a run left in the cloud, stops what still runs, and deletes it."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
import obstore
from botocore import xform_name
from botocore.exceptions import ClientError

from tasks.jobs import is_denied, is_missing
from tasks.object_store import open_store
from tasks.polling import pauses
from tasks.release.registry import newest_model
from tasks.release.serving_now import EndpointState, describe, is_part
from tasks.release.waiting import delete_endpoint
from tasks.settings import Settings

log = logging.getLogger(__name__)
_BATCH = 1000
STOP_MINUTES = 15
"""A stopped job has two minutes to save what it has, and more until that is on S3."""

_JOBS = {
    "tuning job": ("HyperParameterTuningJob", "list_hyper_parameter_tuning_jobs"),
    "training job": ("TrainingJob", "list_training_jobs"),
    "transform job": ("TransformJob", "list_transform_jobs"),
}


@dataclass(frozen=True)
class Leftover:
    """One thing that a run left.

    Attributes:
        kind: what it is.
        name: its name, ARN or prefix.
        note: what makes it worth a look.
        delete: deletes it.
        in_use: what goes on using it; empty where nothing does.
        behind: endpoints that it is needed for as long as they are there.
    """

    kind: str
    name: str
    note: str
    delete: Callable[[], object]
    in_use: str = ""
    behind: frozenset[str] = frozenset()


def running_jobs(run_id: str) -> list[Leftover]:
    """A run's jobs that have not ended; deleting one stops it. A tuning job stops its trials, which are not named."""
    client: Any = boto3.client("sagemaker")
    found: list[Leftover] = []
    for kind, (stem, operation) in _JOBS.items():
        for job in _summaries(client, operation, f"{stem}Summaries", f"{stem}Name", f"b{run_id}-"):
            name, status = job[f"{stem}Name"], job[f"{stem}Status"]
            of_a_tuning = any(each.kind == "tuning job" and name.startswith(f"{each.name}-") for each in found)
            if status in ("InProgress", "Stopping") and not of_a_tuning:
                stop = partial(getattr(client, f"stop_{xform_name(stem)}"), **{f"{stem}Name": name})
                note = f"{status}, costs money until it has ended"
                found.append(Leftover(kind, name, note, stop if status == "InProgress" else _nothing))
    return found


def wait_for_jobs(run_id: str, settings: Settings) -> list[str]:
    """Wait until a run's stopped jobs have ended: what they save last is deleted, too. Returns those that have not."""
    deadline, pause = time.monotonic() + STOP_MINUTES * 60, pauses(settings.poll_seconds)
    while (left := running_jobs(run_id)) and time.monotonic() < deadline:
        time.sleep(next(pause))
    return [each.name for each in left]


def leftovers(run_id: str, settings: Settings) -> list[Leftover]:
    """What a run left, in the order in which it can be deleted; jobs aside. Datasets are shared by runs, and stay."""
    client: Any = boto3.client("sagemaker")
    configs = _named(client, "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", f"binventory-{run_id}-")
    models = _named(client, "list_models", "Models", "ModelName", f"binventory-{run_id}-")
    endpoints = _endpoints_of(client, run_id)
    uses = _uses(endpoints, settings)

    def part(kind: str, name: str, of: str, delete: Callable[[], object], note: str = "") -> Leftover:
        """What is used as a configuration, a model or all models of a run are."""
        behind = frozenset(each for each, state in endpoints.items() if state.needs(of))
        return Leftover(kind, name, note, delete, _use_of(uses, of), behind)

    found = [
        Leftover(
            "endpoint",
            name,
            "costs money while it is there",
            partial(delete_endpoint, name, settings),
            _use_of(uses, state.config),
        )
        for name, state in endpoints.items()
    ]
    for name in configs:
        found.append(
            part("endpoint configuration", name, name, partial(client.delete_endpoint_config, EndpointConfigName=name))
        )
    for name in models:
        found.append(part("model", name, name, partial(client.delete_model, ModelName=name)))
    for arn, name, status in _packages(client, run_id, settings):
        found.append(
            part("model package", arn, name, partial(client.delete_model_package, ModelPackageName=arn), status)
        )
    for folder, name, note, delete in _objects(run_id, settings):
        if folder == "models":
            found.append(part("objects", name, f"binventory-{run_id}", delete, note))
        else:
            found.append(Leftover("objects", name, note, delete))
    return found


def _uses(endpoints: Mapping[str, EndpointState], settings: Settings) -> dict[str, str]:
    """What goes on being used, and for what: configurations that serve or will, and the nights' model."""
    uses: dict[str, str] = {}
    for name, state in endpoints.items():
        if state.answers:
            uses |= {state.pending: f"being put behind {name}", state.config: f"in service behind {name}"}
    if newest := newest_model("Approved", settings):
        uses[newest.name] = "the newest approved model, which nights count with"
    return uses


def _use_of(uses: Mapping[str, str], name: str) -> str:
    """What a configuration, a model or all models of a run are used for."""
    return "; ".join(use for used, use in uses.items() if is_part(used, name))


def _named(client: Any, operation: str, member: str, key: str, prefix: str) -> list[str]:
    return [item[key] for item in _summaries(client, operation, member, key, prefix)]


def _summaries(client: Any, operation: str, member: str, key: str, prefix: str) -> list[dict[str, Any]]:
    pages = client.get_paginator(operation).paginate(NameContains=prefix)
    return [item for page in pages for item in page[member] if item[key].startswith(prefix)]


def _nothing() -> None:
    """It is being stopped already."""


def _endpoints_of(client: Any, run_id: str) -> dict[str, EndpointState]:
    """Endpoints that have a model of a run or are being given one, by what their configurations are called.

    These may have been deleted. Where none is named, the run that created the endpoint counts.
    """
    names = [
        item["EndpointName"] for page in client.get_paginator("list_endpoints").paginate() for item in page["Endpoints"]
    ]
    states, denied = _looked_at(names)
    if denied:
        log.warning(
            "%d endpoints may not be looked at, and are left alone: %s. If a model of this run is behind one, delete "
            "that by hand.",
            len(denied),
            ", ".join(denied),
        )
    return {
        name: state
        for name, state in states.items()
        if state.needs(f"binventory-{run_id}") or (state.run == run_id and not state.config)
    }


def _looked_at(names: list[str]) -> tuple[dict[str, EndpointState], list[str]]:
    """What is behind endpoints, and which may not be looked at: our policy names one, and an account may have more."""
    states: dict[str, EndpointState] = {}
    denied: list[str] = []
    for name in names:
        try:
            state = describe(name)
        except ClientError as error:
            if not is_denied(error):
                raise
            denied.append(name)
        else:
            if state is not None:
                states[name] = state
    return states, denied


def _packages(client: Any, run_id: str, settings: Settings) -> Iterator[tuple[str, str, str]]:
    """ARN, name and status of the packages of a run's models."""
    pages = client.get_paginator("list_model_packages").paginate(ModelPackageGroupName=settings.model_group)
    try:
        for page in pages:
            for item in page["ModelPackageSummaryList"]:
                name = item.get("ModelPackageDescription", "")
                if name.startswith(f"binventory-{run_id}-"):
                    yield item["ModelPackageArn"], name, item["ModelApprovalStatus"]
    except ClientError as error:
        if not is_missing(error):
            raise


def _objects(run_id: str, settings: Settings) -> Iterator[tuple[str, str, str, Callable[[], object]]]:
    """Folder, prefix, size and deletion of the objects that a run's jobs and models have."""
    store = open_store(f"s3://{settings.bucket}")
    for folder, prefix in (
        ("models", f"binventory-{run_id}-"),
        ("jobs", f"b{run_id}-"),
        ("checkpoints", f"b{run_id}-"),
        ("debugger", f"b{run_id}-"),
        ("nightly", f"{run_id}/"),
    ):
        entries = _listed(settings.bucket, f"{folder}/{prefix}")
        if entries:
            paths = [path for path, _ in entries]
            megabytes = sum(size for _, size in entries) / 1e6
            note = f"{len(entries)} objects, {megabytes:.1f} MB"
            yield folder, f"s3://{settings.bucket}/{folder}/{prefix}*", note, partial(_delete_all, store, paths)


def _listed(bucket: str, prefix: str) -> list[tuple[str, int]]:
    """Keys and sizes; none where there is no bucket. By boto3: obstore's prefixes are whole folders."""
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    try:
        return [(item["Key"], item["Size"]) for page in pages for item in page.get("Contents", ())]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            return []
        raise


def _delete_all(store: Any, paths: list[str]) -> None:
    for start in range(0, len(paths), _BATCH):
        obstore.delete(store, paths[start : start + _BATCH])
