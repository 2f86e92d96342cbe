"""Jobs that take long, and a count that does not end in time; here, because these tests have a cloud that is up."""

import datetime as dt
import logging

import boto3
import pytest
from sagemaker.core.resources import HyperParameterTuningJob

from tasks import jobs
from tasks.nightly.count import count_by_jobs
from tasks.nightly.photos import NightPhoto
from tasks.nightly.plan import Chunk
from tasks.settings import Settings
from tests.localcloud.hosting import ROLE, archive, wait_until
from tests.nights import photo
from tests.tasks.release.test_teardown import start_tuning
from training.errors import JobError

log = logging.getLogger(__name__)
RUN = "261125-140000"


@pytest.mark.timeout(240)
def test_a_long_search_says_that_it_goes_on_and_what_its_trials_say(
    here: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jobs, "PULSE_SECONDS", 0.5)
    name = "b261125-150000-hpo-1"
    start_tuning(name, here, says="Epoch 1/2 at 32 px")
    search = HyperParameterTuningJob.get(name)
    caplog.set_level(logging.INFO)

    def status(job: HyperParameterTuningJob) -> str:
        return str(job.hyper_parameter_tuning_job_status)

    def stop_once_told(_: list[str]) -> None:
        if "Epoch 1/2 at 32 px" in caplog.text and status(search) == "InProgress":
            search.stop()

    with pytest.raises(JobError, match="ended as Stopped"):
        jobs.follow(search, status, here, log, watch=stop_once_told)
    assert f"{name} is InProgress, watched for 0 min" in caplog.text


def test_a_job_that_is_late_is_stopped_and_has_no_successor(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRACE_SECONDS", 2 - here.job_timeout_minutes * 60)
    client, s3 = boto3.client("sagemaker"), boto3.client("s3")
    s3.put_object(Bucket=here.bucket, Key="stuck.tar.gz", Body=archive("import time; time.sleep(600)"))
    s3.put_object(Bucket=here.bucket, Key="1.jpg", Body=photo(3))
    container = {"Image": "pytorch-inference", "ModelDataUrl": f"s3://{here.bucket}/stuck.tar.gz"}
    client.create_model(ModelName=f"stuck-{here.bucket}", PrimaryContainer=container, ExecutionRoleArn=ROLE)  # type: ignore[arg-type]
    one = NightPhoto(photo="1", bucket=here.bucket, key="1.jpg", etag="", bytes=1, taken_at=dt.datetime.now(dt.UTC))
    chunk = Chunk(number=0, large=False, copied=False, photos=[one])
    counted = count_by_jobs(chunk, f"stuck-{here.bucket}", RUN, 1, here, log)
    assert counted["1"].status == "uncounted"
    assert "has not ended after" in str(counted["1"].reason)

    def states() -> list[str]:
        found = client.list_transform_jobs(NameContains=f"b{RUN}-")["TransformJobSummaries"]
        return [job["TransformJobStatus"] for job in found]

    assert len(states()) == 1
    wait_until(lambda: states() == ["Stopped"])
