"""Names that re-attach, and archives whose digests mean something."""

import io
import logging
import tarfile
from itertools import islice
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from sagemaker.core.resources import TrainingJob
from sagemaker.core.shapes import ContainerDefinition

from tasks import code_archive
from tasks.jobs import LogTail, attempts_before, follow, job_name
from tasks.learning import Search
from tasks.polling import pauses
from tasks.prices import Cost
from tasks.release.registry import make_model
from tasks.settings import Settings
from tasks.training_job import _with_places, cost_of_attempts
from tasks.tuning import longest_minutes
from tests.installation import Installation
from training.errors import JobError


def test_a_job_name_fits_the_shortest_limit_of_sagemaker() -> None:
    assert len(job_name("261123-014512", "hpo", ["anything"])) <= 32  # that of tuning jobs; others may be 63 long


def test_a_job_name_stands_for_run_stage_and_inputs() -> None:
    name = job_name("261123-014512", "train", {"lr": 0.1})
    assert name == job_name("261123-014512", "train", {"lr": 0.1})
    others = [
        job_name("261123-014513", "train", {"lr": 0.1}),
        job_name("261123-014512", "hpo", {"lr": 0.1}),
        job_name("261123-014512", "train", {"lr": 0.2}),
    ]
    assert len({name, *others}) == 4


def failed(reason: str) -> Any:
    return SimpleNamespace(refresh=lambda: None, get_name=lambda: "job", failure_reason=reason)


@pytest.mark.parametrize(
    ("arriving", "looks"),
    [
        ([["Training on 9 photos"], [], ["TrainingError: the disk is full"], ["too late"]], 3),
        ([["TrainingError: the disk is full"], ["too late"]], 1),
        ([["Training on 9 photos"]], 3),  # nothing more comes
    ],
)
def test_the_log_of_a_failed_job_is_read_until_its_error_has_arrived(arriving: list[list[str]], looks: int) -> None:
    asked = 0

    def new_lines() -> list[str]:
        nonlocal asked
        asked += 1
        return arriving[asked - 1] if asked <= len(arriving) else []

    log, job = (
        cast(LogTail, SimpleNamespace(new_lines=new_lines)),
        failed("AlgorithmError: TrainingError: the disk is full"),
    )
    with pytest.raises(JobError) as raised:
        follow(job, lambda _: "Failed", Settings(poll_seconds=0.01), logging.getLogger(), log)
    assert asked == looks
    assert str(raised.value).endswith("\n".join(line for lines in arriving[:looks] for line in lines))


def test_a_job_is_looked_at_often_at_first_and_then_as_often_as_is_set() -> None:
    found = list(islice(pauses(2.0), 12))
    assert sum(found[:2]) < 1
    assert found == sorted(found)
    assert found[-2:] == [2.0, 2.0]
    assert list(islice(pauses(0.01), 3)) == [0.01] * 3


def test_a_failure_by_a_checkpoint_names_a_place_that_can_be_reached() -> None:
    job = cast(
        TrainingJob,
        SimpleNamespace(training_job_name="job-2", checkpoint_config=SimpleNamespace(s3_uri="s3://b/checkpoints/job")),
    )
    told = _with_places(JobError("the checkpoint /opt/ml/checkpoints/checkpoint.pt cannot be read; delete it"), job)
    assert str(told).endswith("s3://b/checkpoints/job")
    assert told.job == "job-2"
    assert str(_with_places(JobError("out of memory"), job)) == "out of memory"


def test_attempts_that_failed_are_billed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attempts_before("job", "job") == []
    assert attempts_before("job", "job-3") == ["job", "job-2"]
    seconds = {"job": 100, "job-2": None, "job-3": 7}  # the second one never got its instances

    def get(name: str) -> Any:
        asked = SimpleNamespace(instance_type="ml.g5.xlarge", instance_count=2)
        return SimpleNamespace(training_job_name=name, billable_time_in_seconds=seconds[name], resource_config=asked)

    monkeypatch.setattr(TrainingJob, "get", get)
    assert cost_of_attempts("job", get("job-3")) == Cost(instance="ml.g5.xlarge", billable_seconds=214)


def test_equal_code_gives_equal_archives() -> None:
    files = {"b.py": b"2", "a.py": b"1"}
    assert code_archive.pack(files) == code_archive.pack(dict(reversed(files.items())))
    assert code_archive.pack(files) != code_archive.pack(files | {"a.py": b"3"})


def test_entry_scripts_and_requirements_lie_at_the_top_of_the_training_code() -> None:
    with tarfile.open(fileobj=io.BytesIO(code_archive.training_code())) as archive:
        names = set(archive.getnames())
    assert {"train.py", "hpo.py", "requirements.txt", "training/__init__.py", "training/loop.py"} <= names


def test_what_was_just_made_may_be_unseen_for_a_while(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.localcloud("up")
    for name, value in installation.cloud_environment().items():
        monkeypatch.setenv(name, value)
    container = ContainerDefinition(image="image", model_data_url="s3://bucket/model.tar.gz")
    # Looked for, made, looked for again, which AWS denies once: the second making finds the first one's.
    installation.localcloud("faults", "unseen", "2", "--operation", "DescribeModel")
    assert make_model("binventory-late", container, "261125-120000", Settings()) == "binventory-late"
    there = boto3.client("sagemaker").list_models(NameContains="late")["Models"]
    assert [model["ModelName"] for model in there] == ["binventory-late"]
    installation.localcloud("down")


@pytest.mark.parametrize(("spot", "minutes"), [(False, 3 * 240), (True, 6 * 240)])
def test_a_search_may_take_as_long_as_its_trials_one_after_another(spot: bool, minutes: int) -> None:
    search = Search(trials=5, parallel=2, learning_rates=(0.001, 0.1), batch_sizes=(32,))
    assert longest_minutes(search, Settings(spot=spot, job_timeout_minutes=240)) == minutes
