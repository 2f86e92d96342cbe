"""What tests of endpoints and transform jobs share: models made of a script, and waiting for a status."""

import io
import tarfile
import time
import uuid
from collections.abc import Callable
from textwrap import dedent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.localcloud.conftest import RunningCloud

ROLE = "arn:aws:iam::000000000000:role/test"
PATIENCE_SECONDS = 60

ECHO = """
    import json

    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        data = body.encode() if isinstance(body, str) else body
        if data == b"bad":
            raise ValueError("cannot read this one")
        return json.dumps({"bytes": len(data), "type": content_type, "accept": accept}), "application/json"
"""


BROKEN = "raise RuntimeError('the weights are missing')"


def answering(text: str) -> str:
    """A model that answers every request with a text."""
    return f"""
    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        return {text!r}, "text/plain"
    """


def unique(stem: str) -> str:
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def archive(script: str, files: dict[str, bytes] | None = None) -> bytes:
    """A `model.tar.gz` with `code/inference.py` and more files."""
    content = {"code/inference.py": dedent(script).encode(), **(files or {})}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def wait_until(condition: Callable[[], Any]) -> Any:
    """The first true value of a condition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


class Hosting:
    """Makes models, endpoint configurations, endpoints and transform jobs in a cloud."""

    def __init__(self, cloud: "RunningCloud") -> None:
        self.sagemaker = cloud.client("sagemaker")
        self.runtime = cloud.client("sagemaker-runtime")
        self.s3 = cloud.client("s3")
        self.bucket = unique("bucket")
        self.s3.create_bucket(Bucket=self.bucket)

    def put(self, key: str, data: bytes) -> str:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)
        return f"s3://{self.bucket}/{key}"

    def read(self, prefix: str) -> dict[str, bytes]:
        """All objects under a prefix, by the rest of their keys."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return {
            key.removeprefix(prefix): self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys
        }

    def model(
        self, script: str = ECHO, *, environment: dict[str, str] | None = None, files: dict[str, bytes] | None = None
    ) -> str:
        name = unique("model")
        url = self.put(f"models/{name}/model.tar.gz", archive(script, files))
        self.create_model(name, url, environment)
        return name

    def create_model(self, name: str, url: str, environment: dict[str, str] | None = None) -> None:
        container = {"Image": "pytorch-inference", "ModelDataUrl": url, "Environment": environment or {}}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)

    def config(self, *models: str, **more: Any) -> str:
        """A configuration with one variant for each model: v0, v1, ..."""
        name = unique("config")
        variants = [
            {"VariantName": f"v{number}", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
            for number, model in enumerate(models)
        ]
        variants = more.pop("variants", variants)
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **more)
        return name

    def endpoint(self, config: str) -> str:
        """An endpoint that has left `Creating`."""
        name = unique("endpoint")
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.settle(name)
        return name

    def settle(self, endpoint: str) -> dict[str, Any]:
        """The endpoint's description once it is neither creating nor updating."""

        def settled() -> Any:
            found = self.sagemaker.describe_endpoint(EndpointName=endpoint)
            return found if found["EndpointStatus"] not in ("Creating", "Updating") else None

        described: dict[str, Any] = wait_until(settled)
        return described

    def invoke(self, endpoint: str, body: bytes = b"x", **more: Any) -> bytes:
        answer = self.runtime.invoke_endpoint(EndpointName=endpoint, Body=body, **more)
        data: bytes = answer["Body"].read()
        return data

    def transform(self, model: str, source: dict[str, Any], **more: Any) -> str:
        """Start a transform job; `source` is its TransformInput without the data source's wrapping."""
        name = unique("transform")
        kind, uri = source.pop("S3DataType", "S3Prefix"), source.pop("S3Uri")
        data = {"DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri}}, **source}
        output = {"S3OutputPath": f"s3://{self.bucket}/{name}", **more.pop("output", {})}
        resources = {"InstanceType": "ml.m5.large", "InstanceCount": more.pop("instances", 1)}
        self.sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=model,
            TransformInput=data,
            TransformOutput=output,
            TransformResources=resources,
            **more,
        )
        return name

    def finish(self, job: str) -> dict[str, Any]:
        """The transform job's description once it has ended."""

        def ended() -> Any:
            found = self.sagemaker.describe_transform_job(TransformJobName=job)
            return found if found["TransformJobStatus"] not in ("InProgress", "Stopping") else None

        described: dict[str, Any] = wait_until(ended)
        return described
