"""Registered models that were never trained, and a flow that deploys them."""

import io
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from prefect import flow

from serving import inference
from serving.prediction import Prediction
from tasks.data.prepared_data import SPLITS, ImageCounts, PreparedData, SplitCounts, SplitName
from tasks.release import deployment, registry
from tasks.release.package import SmokeCase
from tasks.settings import Settings
from tests.serving.photos import archive, encoded, picture, save_model

PHOTO, PHOTOS = encoded(picture()), 12


@flow(name="release-in-test")
def release(
    model: registry.RegisteredModel, cases: list[SmokeCase], endpoint: str, here: Settings
) -> deployment.Deployment:
    return deployment.release(model, cases, endpoint, "261125-120000", here)


def let_aws_answer(operation: str, status: int, content: dict[str, Any]) -> None:
    """Let an operation, like ``sagemaker.ListEndpoints``, be answered so: for what the embedded cloud never says.

    It holds for clients that boto3's default session makes from now on, in this test.
    """
    answer = AWSResponse("", status, HTTPHeaders(), None), content
    boto3.client("sagemaker")  # makes the session
    assert boto3.DEFAULT_SESSION
    boto3.DEFAULT_SESSION.events.register(f"before-call.{operation}", lambda **_: answer)  # type: ignore[arg-type]


class Bench:
    """Makes registered models, and endpoints with names that nobody else has."""

    def __init__(self, here: Settings, folder: Path) -> None:
        self.here, self.folder = here, folder
        self.s3 = boto3.client("s3")
        self.s3.put_object(Bucket=here.bucket, Key="photo.jpg", Body=PHOTO)

    def model(
        self, version: str, seed: int = 0, files: dict[str, bytes] | None = None
    ) -> tuple[registry.RegisteredModel, list[SmokeCase]]:
        """An approved model with the smoke test that it should pass."""
        name = f"{self.here.bucket}-{version}"
        saved = save_model(self.folder / version, seed, version)
        self.s3.put_object(Bucket=self.here.bucket, Key=f"{name}/model.tar.gz", Body=archive(saved, **(files or {})))
        registered = registry.register(
            registry.Registration(
                name=name,
                uri=f"s3://{self.here.bucket}/{name}/model.tar.gz",
                image="pytorch-inference",
                environment={"SAGEMAKER_PROGRAM": "inference.py"},
                evaluation_uri=f"s3://{self.here.bucket}/{name}/evaluation.json",
                facts={"run_id": "261125-120000"},
            ),
            "Approved",
            "passed",
            self.here,
        )
        answer = inference.predict_fn(PHOTO, inference.model_fn(str(saved)))
        assert isinstance(answer, Prediction)
        return registered, [SmokeCase(photo=f"s3://{self.here.bucket}/photo.jpg", expected=answer)]

    def data_that_fits(self, version: str) -> PreparedData:
        """A dataset in which a model is always right: its counts are what this one says."""
        model, name = inference.model_fn(str(self.folder / version)), "datasets/fitting"
        counts: dict[SplitName, dict[int, int]] = {split: {} for split in SPLITS}
        for number in range(PHOTOS):
            split: SplitName = ("valid", "test")[number % 2]
            photo = encoded(picture(seed=number))
            said = inference.predict_fn(photo, model)
            assert isinstance(said, Prediction)
            counts[split][said.count] = counts[split].get(said.count, 0) + 1
            key = f"{name}/{split}/{said.count}/{number:05}.jpg"
            self.s3.put_object(Bucket=self.here.bucket, Key=key, Body=photo)
        catalog, ids = self.folder / "catalog.parquet", [f"{number:05}" for number in range(PHOTOS)]
        self.hold_back(version, ids)
        pq.write_table(pa.table({"id": ids, "bin_group": ids}), catalog)
        return PreparedData(
            dataset="fitting", source="abid", folder=self.folder, catalog=catalog,
            uri=f"s3://{self.here.bucket}/{name}", digest="ab",
            images=ImageCounts(listed=PHOTOS, downloaded=0, reused=0, missing=0, corrupt=0, label_mismatch=0),
            splits=SplitCounts(train=0, valid=PHOTOS // 2, test=PHOTOS // 2, grouped=True),
            counts=counts,
        )  # fmt: skip

    def hold_back(self, version: str, ids: list[str], source: str = "abid") -> None:
        """Write down that a model did not learn from these photos of a source."""
        answers = io.BytesIO()
        table = pa.table({"photo_id": pa.array(ids, pa.string())})
        pq.write_table(table.replace_schema_metadata({"source": source}), answers)
        name = f"{self.here.bucket}-{version}"
        self.s3.put_object(Bucket=self.here.bucket, Key=f"{name}/answers.parquet", Body=answers.getvalue())

    def always_another(self, version: str) -> bytes:
        """Weights with which a model says another count than it did, to every photo."""
        weights = torch.load(self.folder / version / "model.pth", weights_only=True)
        for name in ("fc.weight", "fc.bias"):
            weights[name] = weights[name].roll(1, dims=0)
        body = io.BytesIO()
        torch.save(weights, body)
        return body.getvalue()

    def status(self, model: registry.RegisteredModel) -> tuple[str, str]:
        found = registry.find_model(model.arn, self.here)
        return found.status, found.reason
