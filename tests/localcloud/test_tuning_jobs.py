"""Tuning jobs: every strategy runs exactly the jobs it should, finds the best, and survives failures."""

from typing import Any

import pytest

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import ROLE, unique, wait_until
from tests.localcloud.training import BUCKET, Training

SCRIPT = """
    import argparse, time
    parser = argparse.ArgumentParser()
    parser.add_argument("--place", type=float, default=0.0)
    parser.add_argument("--size", type=int, default=1)
    parser.add_argument("--mode", default="good")
    arguments = parser.parse_args()
    if arguments.mode == "bad":
        raise SystemExit(3)
    for epoch in range(1, 4):
        print(f"loss={(arguments.place - 0.5) ** 2 + 1 / epoch}", flush=True)
        time.sleep(0.15)
    if arguments.place > 1:
        time.sleep(30)  # hopeless, and there until somebody stops it
"""
X = {"Name": "place", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}


class Tuning:
    def __init__(self, training: Training) -> None:
        self.training = training
        self.sagemaker = training.sagemaker
        self.source = training.upload_source(SCRIPT)

    def start(self, strategy: str, ranges: dict[str, Any], jobs: int | None, parallel: int = 2, **changes: Any) -> str:
        limits = {"MaxParallelTrainingJobs": parallel, **({} if jobs is None else {"MaxNumberOfTrainingJobs": jobs})}
        name = unique("tune")
        more = {key: changes.pop(key) for key in ("WarmStartConfig",) if key in changes}
        self.sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name,
            HyperParameterTuningJobConfig={
                "Strategy": strategy,
                "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
                "ResourceLimits": limits,
                "ParameterRanges": ranges,
                **changes,
            },
            TrainingJobDefinition={
                "AlgorithmSpecification": {
                    "TrainingImage": "pytorch",
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [{"Name": name, "Regex": f"{name}=(.*)"} for name in ("loss", "accuracy")],
                },
                "RoleArn": ROLE,
                "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/tuning"},
                "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
                "StoppingCondition": {"MaxRuntimeInSeconds": 60},
                "StaticHyperParameters": {
                    "sagemaker_program": "train.py",
                    "sagemaker_submit_directory": self.source,
                },
            },
            **more,
        )
        return name

    def describe(self, name: str) -> dict[str, Any]:
        return dict(self.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name))

    def end_of(self, name: str) -> dict[str, Any]:
        live = ("InProgress", "Stopping")
        wait_until(lambda: self.describe(name)["HyperParameterTuningJobStatus"] not in live)
        return self.describe(name)

    def jobs(self, name: str, **arguments: Any) -> list[dict[str, Any]]:
        pages = self.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=name, PaginationConfig={"PageSize": 2}, **arguments
        )
        return [job for page in pages for job in page["TrainingJobSummaries"]]


@pytest.fixture(scope="module")
def tuning(cloud: RunningCloud) -> Tuning:
    return Tuning(Training(cloud))


def test_bayesian_search_runs_exactly_its_jobs_and_reports_the_best(tuning: Tuning) -> None:
    name = tuning.start(
        "Bayesian",
        {
            "ContinuousParameterRanges": [X],
            "IntegerParameterRanges": [{"Name": "size", "MinValue": "2", "MaxValue": "9"}],
        },
        5,
        RandomSeed=7,
    )
    job = tuning.end_of(name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] == 5
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 5, "Pending": 0, "Failed": 0}
    jobs = tuning.jobs(name, SortBy="FinalObjectiveMetricValue", SortOrder="Ascending")
    values = [one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in jobs]
    assert values == sorted(values)
    assert job["BestTrainingJob"]["TrainingJobName"] == jobs[0]["TrainingJobName"]
    assert all(0 <= float(one["TunedHyperParameters"]["place"]) <= 1 for one in jobs)
    assert all(2 <= int(one["TunedHyperParameters"]["size"]) <= 9 for one in jobs)


def test_a_trial_is_a_training_job_with_the_tuner_named(tuning: Tuning) -> None:
    name = tuning.start("Random", {"ContinuousParameterRanges": [X]}, 2)
    tuning.end_of(name)
    (trial, *_) = tuning.jobs(name)
    job = tuning.training.describe(trial["TrainingJobName"])
    assert job["TuningJobArn"].endswith(f"hyper-parameter-tuning-job/{name}")
    assert job["HyperParameters"]["_tuning_objective_metric"] == "loss"
    assert job["HyperParameters"]["place"] == trial["TunedHyperParameters"]["place"]


def test_a_grid_tries_every_combination_once(tuning: Tuning) -> None:
    ranges = [{"Name": "size", "Values": ["1", "2"]}, {"Name": "mode", "Values": ["good", "fine"]}]
    name = tuning.start("Grid", {"CategoricalParameterRanges": ranges}, None)
    assert tuning.end_of(name)["HyperParameterTuningJobStatus"] == "Completed"
    tried = sorted(tuple(sorted(one["TunedHyperParameters"].items())) for one in tuning.jobs(name))
    assert tried == [(("mode", mode), ("size", n)) for mode in ("fine", "good") for n in ("1", "2")]


def test_failed_trials_are_counted_and_survived(tuning: Tuning) -> None:
    ranges = [{"Name": "mode", "Values": ["good", "bad"]}, {"Name": "size", "Values": ["1", "2"]}]
    name = tuning.start("Grid", {"CategoricalParameterRanges": ranges}, 4)
    job = tuning.end_of(name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 2
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 2, "Pending": 0, "Failed": 2}
    assert job["BestTrainingJob"]["TunedHyperParameters"]["mode"] == "good"
    ranked = tuning.jobs(name, SortBy="FinalObjectiveMetricValue")  # those without a value are not listed
    assert [one["TunedHyperParameters"]["mode"] for one in ranked] == ["good", "good"]


def test_a_search_in_which_all_fails_fails(tuning: Tuning) -> None:
    name = tuning.start("Random", {"CategoricalParameterRanges": [{"Name": "mode", "Values": ["bad"]}]}, 2)
    job = tuning.end_of(name)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("All training jobs failed")
    assert "BestTrainingJob" not in job


def test_hyperband_stops_what_is_not_worth_going_on(tuning: Tuning) -> None:
    values = [{"Name": "place", "Values": ["0.5", "50"]}]
    bounds = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 3}}
    seed = {"RandomSeed": 10}  # a good one before the hopeless one, and both in one bracket
    name = tuning.start("Hyperband", {"CategoricalParameterRanges": values}, 2, 1, StrategyConfig=bounds, **seed)
    assert tuning.end_of(name)["HyperParameterTuningJobStatus"] == "Completed"
    jobs = tuning.jobs(name, SortBy="CreationTime", SortOrder="Ascending")
    assert [(one["TunedHyperParameters"]["place"], one["TrainingJobStatus"]) for one in jobs] == [
        ("0.5", "Completed"),
        ("50", "Stopped"),
    ]


def test_early_stopping_ends_a_hopeless_trial_and_no_other(tuning: Tuning) -> None:
    values = [{"Name": "place", "Values": ["0.5", "50"]}]
    rule = {"TrainingJobEarlyStoppingType": "Auto", "RandomSeed": 6}  # two good ones before the hopeless one
    name = tuning.start("Random", {"CategoricalParameterRanges": values}, 4, 1, **rule)
    tuning.end_of(name)
    jobs = tuning.jobs(name, SortBy="CreationTime", SortOrder="Ascending")
    assert [(one["TunedHyperParameters"]["place"], one["TrainingJobStatus"]) for one in jobs] == [
        ("0.5", "Completed"),
        ("0.5", "Completed"),
        ("50", "Stopped"),
        ("0.5", "Completed"),
    ]


def test_a_warm_start_knows_the_best_of_its_parent(tuning: Tuning) -> None:
    parent = tuning.start("Random", {"CategoricalParameterRanges": [{"Name": "place", "Values": ["0.5"]}]}, 1, 1)
    best = tuning.end_of(parent)["BestTrainingJob"]
    child = tuning.start(
        "Bayesian",
        {"ContinuousParameterRanges": [{**X, "MinValue": "0.9"}]},
        2,
        WarmStartConfig={
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
            "WarmStartType": "TransferLearning",
        },
    )
    job = tuning.end_of(child)
    assert len(tuning.jobs(child)) == 2
    assert job["BestTrainingJob"]["TrainingJobName"] != best["TrainingJobName"]
    assert job["OverallBestTrainingJob"]["TrainingJobName"] == best["TrainingJobName"]


def test_a_warm_start_is_refused_where_parent_and_child_are_not_alike(tuning: Tuning) -> None:
    values = {"CategoricalParameterRanges": [{"Name": "place", "Values": ["0.5"]}]}
    parent = tuning.start("Random", values, 1, 1)
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
        "WarmStartType": "TransferLearning",
    }
    more = {**values, "IntegerParameterRanges": [{"Name": "size", "MinValue": "1", "MaxValue": "2"}]}
    accuracy = {"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "accuracy"}}

    def refused(message: str, ranges: dict[str, Any], **changes: Any) -> None:
        with pytest.raises(tuning.sagemaker.exceptions.ClientError, match=message) as caught:
            tuning.start("Random", ranges, 1, 1, WarmStartConfig=warm, **changes)
        assert caught.value.response["Error"]["Code"] == "ValidationException"

    refused("has not ended", values)
    tuning.end_of(parent)
    refused(f"objective metric must be that of the parent tuning job {parent}, loss, but is acc", values, **accuracy)
    refused(f"number of static and tunable hyperparameters must be that of .* {parent}, 3, but is 4", more)


def test_a_target_value_ends_the_search(tuning: Tuning) -> None:
    criteria = {"TargetObjectiveMetricValue": 100.0}
    name = tuning.start("Random", {"ContinuousParameterRanges": [X]}, 50, TuningJobCompletionCriteria=criteria)
    assert tuning.end_of(name)["HyperParameterTuningJobStatus"] == "Completed"
    assert len(tuning.jobs(name)) <= 4


def test_a_stopped_search_stops_its_trials(tuning: Tuning) -> None:
    name = tuning.start("Random", {"ContinuousParameterRanges": [X]}, 40)
    wait_until(lambda: tuning.jobs(name))
    tuning.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert tuning.end_of(name)["HyperParameterTuningJobStatus"] == "Stopped"
    assert tuning.describe(name)["TrainingJobStatusCounters"]["InProgress"] == 0
    assert len(tuning.jobs(name)) < 40
    tuning.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    with pytest.raises(tuning.sagemaker.exceptions.ResourceNotFound):
        tuning.describe(name)


@pytest.mark.parametrize(
    ("strategy", "ranges", "jobs", "message"),
    [
        ("Random", {"ContinuousParameterRanges": [{**X, "MinValue": "2"}]}, 2, "is empty"),
        ("Random", {"ContinuousParameterRanges": [{**X, "ScalingType": "Logarithmic"}]}, 2, "above 0"),
        ("Random", {"ContinuousParameterRanges": [{**X, "ScalingType": "ReverseLogarithmic"}]}, 2, "0 <= x < 1"),
        ("Random", {"IntegerParameterRanges": [{"Name": "size", "MinValue": "a", "MaxValue": "3"}]}, 2, "integers"),
        ("Random", {"ContinuousParameterRanges": [X, X]}, 2, "name of its own"),
        ("Random", {}, 2, "at least one hyperparameter range"),
        ("Random", {"ContinuousParameterRanges": [X]}, None, "needs MaxNumberOfTrainingJobs"),
        ("Random", {"ContinuousParameterRanges": [X]}, 1, "MaxParallelTrainingJobs"),
        ("Grid", {"ContinuousParameterRanges": [X]}, None, "categorical ranges only"),
        ("Grid", {"CategoricalParameterRanges": [{"Name": "size", "Values": ["1", "2", "3"]}]}, 2, "3 combinations"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    tuning: Tuning, strategy: str, ranges: dict[str, Any], jobs: int | None, message: str
) -> None:
    with pytest.raises(tuning.sagemaker.exceptions.ClientError, match=message) as caught:
        tuning.start(strategy, ranges, jobs)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
