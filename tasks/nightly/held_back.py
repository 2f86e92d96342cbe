"""A first night: the photos that were held back for testing come in, with the record that they have."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.compute as pc
from prefect import get_run_logger, task
from pydantic import BaseModel, ConfigDict, Field

from serving.prediction import Prediction
from tasks.data.catalog import read_usable
from tasks.data.fetch import transfer_errors
from tasks.data.prepared_data import PreparedData
from tasks.data.split_photos import Photo, list_photos
from tasks.data.workspace import Workspace
from tasks.ledger.held_back import held_back_folder
from tasks.nightly.outcomes import read_outcomes
from tasks.nightly.photos import s3_client
from tasks.nightly.plan import read_plan
from tasks.object_store import open_store, split_uri
from tasks.prices import Cost, told
from tasks.release.smoke import compare
from tasks.retries import RETRIES
from tasks.settings import Settings

COPIERS = 16
TOTALS = ("counted", "match", "mismatch", "uncertain", "overtaken", "unreadable")


class FirstNight(BaseModel):
    """What a first night came to."""

    model_config = ConfigDict(frozen=True)

    prefix: str = Field(description="Where the photos are.")
    counted: int
    match: int
    mismatch: int
    uncertain: int
    overtaken: int = Field(0, description="Photos of bins that are judged by a newer one.")
    unreadable: int
    equal: int = Field(description="Photos with the same count as in evaluation.")
    largest_difference: float = Field(description="Of any probability, to evaluation's.")
    cost: Cost | None = Field(None, description="Of its jobs.")


@task(name="hold back", task_run_name="hold back photos of {data.dataset}", **RETRIES)
def hold_back(data: PreparedData, run_id: str, most: int, settings: Settings) -> str:
    """Put photos of the test split, and their record in ABID's layout, under a prefix of the run; returns the prefix.

    The quantities are those of the catalog, so that on this night every mismatch is the model's error or the record's.
    """
    photos = list_photos(data, "test")[:most]
    bring(data, records_of(data, photos), f"s3://{settings.bucket}/{held_back_folder(run_id)}")
    get_run_logger().info("%d photos that no training has seen are under %s", len(photos), held_back_folder(run_id))
    return photos_uri(run_id, settings)


def bring(data: PreparedData, records: Mapping[Photo, Mapping[str, Any]], uri: str) -> None:
    """Put photos and the record of each under an S3 URI, in ABID's layout."""
    from_bucket, from_prefix = split_uri(data.uri)
    bucket, folder = split_uri(uri)
    store, client = open_store(uri), s3_client()

    def bring_one(photo: Photo) -> None:
        with transfer_errors(uri):
            obstore.put(store, f"metadata/{photo.photo_id}.json", json.dumps(records[photo]).encode())
        client.copy_object(
            CopySource={"Bucket": from_bucket, "Key": f"{from_prefix}/{photo.key}"},
            Bucket=bucket,
            Key=f"{folder}/bin-images/{photo.photo_id}.jpg",
            TaggingDirective="REPLACE",  # by nothing: to copy tags takes rights of their own
        )

    with ThreadPoolExecutor(COPIERS) as pool:
        list(pool.map(bring_one, records))


def photos_uri(run_id: str, settings: Settings) -> str:
    """The prefix under which a run's photos are held back."""
    return f"s3://{settings.bucket}/{held_back_folder(run_id)}/bin-images/"


def records_of(data: PreparedData, photos: Sequence[Photo]) -> dict[Photo, dict[str, Any]]:
    """The record of each photo, as ABID's metadata has it."""
    by_id = {photo.photo_id: photo for photo in photos}
    found = {}
    for rows in read_usable(Workspace(data.folder), ["id", "count", "skus"]):
        chosen = rows.filter(pc.is_in(rows["id"], value_set=pa.array(sorted(by_id))))
        for row in chosen.to_pylist():
            skus = {sku["asin"]: {"asin": sku["asin"], "quantity": sku["quantity"]} for sku in row["skus"] or ()}
            found[by_id[row["id"]]] = {"BIN_FCSKU_DATA": skus, "EXPECTED_QUANTITY": row["count"]}
    return found


def outcome(folder: Path, prefix: str, expected: dict[str, Prediction]) -> FirstNight:
    """What a night came to; its counts beside evaluation's.

    Args:
        folder: of the night.
        prefix: where its photos are.
        expected: evaluation's answers, by photo id.
    """
    counted: dict[str, Prediction] = {}
    for chunk in read_plan(folder).chunks:
        outcomes = read_outcomes(folder, chunk.number) or {}
        found = {photo.photo_id: outcomes[photo.photo].prediction for photo in chunk.photos if photo.photo in outcomes}
        counted |= {photo: answer for photo, answer in found.items() if answer and photo in expected}
    agreed = compare(counted, expected).model_dump(include={"equal", "largest_difference"})
    summary = json.loads((folder / "summary.json").read_text())
    totals, cost = summary["night"], told(summary, "count")
    return FirstNight(prefix=prefix, cost=cost, **agreed, **{name: totals[name] for name in TOTALS})
