"""Rules on a job that runs: what they end, what they leave alone, and what a job that was ended is said to be."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prefect.logging import disable_run_logger

from tasks.debugger.evaluate import judge
from tasks.debugger.watch import Watch
from tests.tasks.conftest import s3, s3_folder, s3_variables
from tests.tasks.debugger.planted import record
from tests.tasks.debugger.test_records import upload
from training.errors import JobError

__all__ = ["s3", "s3_folder", "s3_variables"]
ALWAYS = {"WeightUpdateRatio": {"large_threshold": "1e-9"}}


class Job(SimpleNamespace):
    """What a Watch knows of a TrainingJob of the SDK; its records are below ``uri``."""

    def __init__(self, uri: str, refusal: str = "") -> None:
        super().__init__(
            training_job_name="a-job",
            training_job_status="InProgress",
            secondary_status="Training",
            output_data_config=SimpleNamespace(s3_output_path="s3://elsewhere"),
            checkpoint_config=SimpleNamespace(s3_uri=uri),
        )
        self.refusal, self.stops = refusal, 0

    def stop(self) -> None:
        self.stops += 1
        if self.refusal:
            raise ClientError({"Error": {"Code": self.refusal, "Message": "no"}}, "StopTrainingJob")
        self.training_job_status = "Stopped"


@pytest.fixture(autouse=True)
def _outside_of_a_flow() -> Iterator[None]:
    with disable_run_logger():
        yield


@pytest.fixture
def recorded(tmp_path: Path, s3: Path) -> str:
    record(tmp_path / "debug-output", passes=2, steps=6)
    upload(tmp_path / "debug-output", "s3://watched/job/debug-output")
    return "s3://watched/job"


def test_a_rule_that_fires_stops_the_job_and_is_why(recorded: str) -> None:
    job = Job(recorded)
    with Watch(ALWAYS) as watch:
        watch.look(job)
        assert job.stops == 1
        with pytest.raises(JobError, match=r"a-job was stopped: the rule WeightUpdateRatio fired \(train step 0"):
            watch.explain(job)
        job.training_job_status = "Failed"
        watch.explain(job)  # its own reason counts
    with Watch({}) as nobody:
        nobody.look(Job(recorded))
        nobody.explain(job)


@pytest.mark.parametrize("why", ["MaxRuntimeExceeded", "MaxWaitTimeExceeded"])
def test_a_job_whose_time_was_up_was_not_stopped_by_a_rule(recorded: str, why: str) -> None:
    job = Job(recorded)
    job.training_job_status, job.secondary_status = "Stopped", why
    with Watch(ALWAYS) as watch:
        watch.explain(job)


def test_a_rule_is_not_said_to_have_stopped_what_a_person_may_have_stopped(recorded: str) -> None:
    job = Job(recorded)
    job.training_job_status, job.secondary_status = "Stopped", "Stopped"
    with (
        Watch(ALWAYS) as watch,
        pytest.raises(JobError, match=r"a-job was stopped, SageMaker does not say by whom, and"),
    ):
        watch.explain(job)


def test_a_healthy_job_goes_on(recorded: str) -> None:
    job = Job(recorded)
    with Watch({"ExplodingTensor": {}, "VanishingGradient": {}, "Overfit": {}}) as watch:
        watch.look(job)
    assert job.stops == 0


def test_what_goes_wrong_in_watching_leaves_the_training_alone(recorded: str) -> None:
    with Watch(ALWAYS) as watch:
        watch.look(Job("s3://no-such-bucket/job"))
    with Watch(ALWAYS) as watch:
        refused = Job(recorded, refusal="AccessDeniedException")
        watch.look(refused)
        assert refused.stops == 1


def test_a_pass_that_is_still_recorded_is_not_judged(tmp_path: Path) -> None:
    trial: Any = record(tmp_path / "trial", train=[1.0] * 18, valid=[1.0, 1.0, 9.0], passes=3, steps=6)
    [ended] = judge(trial, None, {"Overfit": {}})
    [running] = judge(trial, None, {"Overfit": {}}, running=True)
    assert ended.fired == 1
    assert running.fired == 0
