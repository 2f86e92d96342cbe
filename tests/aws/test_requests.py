"""What is in the requests of a whole run, whatever they are for."""

import json
import re

from tests.aws.conftest import THROTTLED, UNSEEN, Recorded

OF_ITS_GROUP = "CreateModelPackage"
"""AWS takes no tags for a version in a group: it has those of the group."""


def test_everything_that_is_made_says_by_which_run_and_for_what(recorded: Recorded) -> None:
    made = [each for each in recorded.all.requests if each.operation.startswith("Create")]
    assert {each.operation for each in made} == {
        "CreateHyperParameterTuningJob",
        "CreateTrainingJob",
        "CreateModel",
        "CreateModelPackageGroup",
        "CreateModelPackage",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "CreateTransformJob",
    }
    runs = {recorded.pipeline.run, (recorded.home / "runs" / "latest").resolve().name}
    assert len(runs) == 2
    for request in made:
        if request.operation == OF_ITS_GROUP:
            assert request.parameters["CustomerMetadataProperties"]["run_id"] in runs
        else:
            tags = {tag["Key"]: tag["Value"] for tag in request.parameters["Tags"]}
            assert tags["project"] == "binventory"
            assert tags["binventory-run"] in runs


def test_a_run_outlives_throttling_and_what_is_not_seen_yet(recorded: Recorded) -> None:
    assert json.loads(recorded.faults_left)["refusals"] == []
    for operation in (*UNSEEN, *THROTTLED):
        assert recorded.pipeline.of(operation)
    jobs = [request["TrainingJobName"] for request in recorded.pipeline.of("CreateTrainingJob")]
    assert len(jobs) == len(set(jobs)) == 2  # features and the final training


def test_no_hyperparameter_is_empty_or_one_that_a_shell_would_act_on(recorded: Recorded) -> None:
    told = [request["HyperParameters"] for request in recorded.pipeline.of("CreateTrainingJob")]
    searches = recorded.pipeline.of("CreateHyperParameterTuningJob")
    told += [request["TrainingJobDefinition"]["StaticHyperParameters"] for request in searches]
    assert len(told) >= 3  # features, a search, the final training
    for name, value in (pair for hyperparameters in told for pair in hyperparameters.items()):
        assert re.fullmatch(r"[\w.,:/%-]+", value), f"{name} = {value!r}"


def test_a_teardown_deletes_what_the_run_made(recorded: Recorded) -> None:
    [model] = recorded.pipeline.of("CreateModel")
    assert {"ModelName": model["ModelName"]} in recorded.after.of("DeleteModel")
    configs = [*recorded.pipeline.of("CreateEndpointConfig"), *recorded.after.of("CreateEndpointConfig")]
    deleted = {request["EndpointConfigName"] for request in recorded.after.of("DeleteEndpointConfig")}
    assert {config["EndpointConfigName"] for config in configs} == deleted
    assert len(recorded.after.of("UpdateEndpoint")) == len(recorded.after.of("DeleteEndpoint")) == 1
