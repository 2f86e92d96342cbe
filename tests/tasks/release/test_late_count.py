"""A count that does not end in time; here, because the tests of this folder have a cloud that is up."""

import datetime as dt
import logging

import boto3
import pytest

from tasks import jobs
from tasks.nightly.count import count_by_jobs
from tasks.nightly.photos import NightPhoto
from tasks.nightly.plan import Chunk
from tasks.settings import Settings
from tests.localcloud.hosting import ROLE, archive, wait_until
from tests.nights import photo

RUN = "261125-140000"


def test_a_job_that_is_late_is_stopped_and_has_no_successor(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRACE_SECONDS", 2 - here.job_timeout_minutes * 60)
    client, s3 = boto3.client("sagemaker"), boto3.client("s3")
    s3.put_object(Bucket=here.bucket, Key="stuck.tar.gz", Body=archive("import time; time.sleep(600)"))
    s3.put_object(Bucket=here.bucket, Key="1.jpg", Body=photo(3))
    container = {"Image": "pytorch-inference", "ModelDataUrl": f"s3://{here.bucket}/stuck.tar.gz"}
    client.create_model(ModelName=f"stuck-{here.bucket}", PrimaryContainer=container, ExecutionRoleArn=ROLE)  # type: ignore[arg-type]
    one = NightPhoto(photo="1", bucket=here.bucket, key="1.jpg", etag="", bytes=1, taken_at=dt.datetime.now(dt.UTC))
    chunk = Chunk(number=0, large=False, copied=False, photos=[one])
    counted = count_by_jobs(chunk, f"stuck-{here.bucket}", RUN, 1, here, logging.getLogger(__name__))
    assert counted["1"].status == "uncounted"
    assert "has not ended after" in str(counted["1"].reason)

    def states() -> list[str]:
        found = client.list_transform_jobs(NameContains=f"b{RUN}-")["TransformJobSummaries"]
        return [job["TransformJobStatus"] for job in found]

    assert len(states()) == 1
    wait_until(lambda: states() == ["Stopped"])
