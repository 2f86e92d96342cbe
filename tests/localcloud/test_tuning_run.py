"""The work of one tuning job, in this process: searches, and what befalls their training jobs."""

from pathlib import Path
from typing import Any

from localcloud import resources
from localcloud.operations import Cloud
from localcloud.resources import TRAINING_JOB, TUNING_JOB
from localcloud.store import Document
from localcloud.training.status import finish
from localcloud.tuning.jobs import delete_tuning_job
from localcloud.tuning.results import trials
from localcloud.tuning.run import TuningRun, run_tuning_job
from localcloud.tuning.search import Search
from tests.localcloud.hosting import wait_until

OBJECTIVE = {"Type": "Minimize", "MetricName": "loss"}
RANGES = {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}]}
DEFINITION: Document = {
    "AlgorithmSpecification": {"TrainingInputMode": "File", "ContainerEntrypoint": ["/bin/true"]},
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
}


def configuration(jobs: int = 3, **more: Any) -> Document:
    limits = {"MaxParallelTrainingJobs": 1, "MaxNumberOfTrainingJobs": jobs}
    return {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": OBJECTIVE,
        "ResourceLimits": limits,
        "ParameterRanges": RANGES,
        **more,
    }


def store_job(here: Cloud, name: str, *, status: str = "InProgress", **more: Any) -> None:
    request = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": configuration(),
        "TrainingJobDefinition": DEFINITION,
        **more,
    }
    resources.create(here, TUNING_JOB, request, HyperParameterTuningJobStatus=status)


def store_trial(here: Cloud, parent: str, number: int, *, status: str, lr: str = "0.5", loss: float = 1.0) -> str:
    """A training job of a tuning job, without a worker; returns its name."""
    name = f"{parent}-{number:03d}-01234567"
    resources.create(
        here, TRAINING_JOB, {"TrainingJobName": name}, parent=parent, TrainingJobStatus=status,
        FinalMetricDataList=[{"MetricName": "loss", "Value": loss}], _Objective=OBJECTIVE, _Tuned={"lr": lr},
        _Trial=number - 1, _Index=0,
    )  # fmt: skip
    return name


def status_of(here: Cloud, name: str) -> Any:
    job = here.store.get(TUNING_JOB.key, name)
    return job and job["HyperParameterTuningJobStatus"]


def test_a_tuning_job_that_fails_ends_after_its_training_jobs(here: Cloud) -> None:
    store_job(here, "broken", HyperParameterTuningJobConfig={})
    trial = store_trial(here, "broken", 1, status="InProgress")

    def trial_status() -> Any:
        return (here.store.get(TRAINING_JOB.key, trial) or {})["TrainingJobStatus"]

    here.workers.start("tuning", run_tuning_job, here, "broken")
    wait_until(lambda: trial_status() == "Stopping")
    assert status_of(here, "broken") == "InProgress"
    here.store.update(TRAINING_JOB.key, trial, lambda job: job.update(TrainingJobStatus="Stopped"))
    wait_until(lambda: status_of(here, "broken") == "Failed")


def test_a_deleted_training_job_is_not_run_again_and_does_not_end_the_search(here: Cloud) -> None:
    store_job(here, "search")
    with here.cores.hold(here.cores.total, lambda: False):  # the training jobs wait; this test says how they end
        here.workers.start("tuning", run_tuning_job, here, "search")

        def newest(serial: int) -> Any:
            names = [row.name for row in trials(here, "search")]
            return next((name for name in names if name.startswith(f"search-{serial:03d}-")), None)

        for serial in (1, 2, 3):
            name = wait_until(lambda serial=serial: newest(serial))  # type: ignore[misc]
            if serial == 2:
                resources.delete(here, TRAINING_JOB, newest(1))
            here.store.update(
                TRAINING_JOB.key, name, lambda job: job.update(FinalMetricDataList=[{"MetricName": "loss", "Value": 1}])
            )
            finish(here, name, "Completed")
        wait_until(lambda: status_of(here, "search") != "InProgress")
        assert status_of(here, "search") == "Completed"
        tried = [row.document for row in trials(here, "search")]
        assert [job["_Trial"] for job in tried] == [1, 2]
        here.workers.stop()


def test_a_tuning_job_of_a_deleted_ones_name_has_none_of_its_training_jobs(here: Cloud) -> None:
    store_job(here, "search", status="Completed")
    name = store_trial(here, "search", 1, status="Completed")
    delete_tuning_job(here, {"HyperParameterTuningJobName": "search"})
    store_job(here, "search")
    assert trials(here, "search") == []
    assert here.store.get(TRAINING_JOB.key, name) is not None


def test_a_warm_start_knows_what_its_parents_tried_within_its_ranges(here: Cloud) -> None:
    store_job(here, "parent", status="Completed")
    for number, (lr, loss) in enumerate([("0.5", 0.3), ("7", 0.1), ("0.25", 0.2)], 1):
        store_trial(here, "parent", number, status="Completed", lr=lr, loss=loss)
    store_trial(here, "parent", 4, status="Failed", lr="0.75")
    parents = [{"HyperParameterTuningJobName": "parent"}]
    store_job(here, "child", WarmStartConfig={"ParentHyperParameterTuningJobs": parents})
    for _ in range(2):  # a service that goes on with it does not add them again
        (search,) = TuningRun(here, "child").searches
        assert [(trial.params, trial.value) for trial in search.study.get_trials()] == [
            ({"lr": 0.5}, 0.3),
            ({"lr": 0.25}, 0.2),
        ]
        assert search.open_trials() == []


def test_a_search_that_goes_on_after_a_crash_does_not_repeat_itself(tmp_path: Path) -> None:
    def search(place: str) -> Search:
        return Search(tmp_path / place, configuration(RandomSeed=7), DEFINITION)

    def ask(one: Search) -> str:
        return one.parameters(one.ask())["lr"]

    first = search("journal")
    tried = [ask(first) for _ in range(2)]
    again = search("journal")
    tried += [ask(again) for _ in range(2)]
    assert len(set(tried)) == 4
    other = search("other")
    assert [ask(other) for _ in range(2)] == tried[:2], "the seed still makes a search repeatable"
