"""A plan is what a run then asks for, and making one asks for nothing."""

import inspect
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flows import deploy
from flows.command_line import parse
from tasks.plan import counting, pipeline
from tasks.plan.plan import Draft, Plan, make_plan
from tasks.plan.rehearsal import Request
from tasks.settings import Settings
from tests.aws.conftest import NIGHT, SMALL, THROUGH_ENDPOINT, Recorded
from tests.forking import Commands
from tests.installation import Installation
from training.errors import RunError

PLACEHOLDER = re.compile(r"<[^<>]+>")


def agrees(planned: Any, real: Any) -> bool:
    """Whether a real request is the planned one: equal but for the placeholders, each of which stands for anything."""
    if isinstance(planned, str) and PLACEHOLDER.search(planned):
        pattern = "(.+)".join(re.escape(part) for part in PLACEHOLDER.split(planned))
        return not isinstance(real, str) or re.fullmatch(pattern, real, re.DOTALL) is not None
    if isinstance(planned, dict) and isinstance(real, dict):
        return planned.keys() == real.keys() and all(agrees(planned[key], real[key]) for key in planned)
    if isinstance(planned, list) and isinstance(real, list):
        return len(planned) == len(real) and all(map(agrees, planned, real))
    return bool(planned == real)


class Ear:
    """A server that AWS's clients would find, and that counts who knocks."""

    def __init__(self) -> None:
        self.knocks = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.knocks += 1
            connection.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    listening = Ear()
    yield listening
    listening.close()


@pytest.fixture
def nowhere(installation: Installation, ear: Ear) -> Installation:
    """An installation without credentials whose every request would be heard."""
    installation.environment |= {"AWS_ENDPOINT_URL": ear.url, "AWS_EC2_METADATA_DISABLED": "true"}
    installation.environment["PREFECT_API_URL"] = f"{ear.url}/api"
    return installation


FLOWS: dict[str, Callable[[Draft, Any], None]] = {
    "full_pipeline": pipeline.full_pipeline,
    "tune_and_train": pipeline.tune_and_train,
    "deploy": deploy.ask,
    "nightly_count": counting.count_night,
}


def plan_of(flow: str, *arguments: str, **changed: Any) -> Plan:
    """The plan of a flow that is started with these arguments, under the default settings but for those changed."""
    ask = FLOWS[flow]
    parameters = parse(inspect.get_annotations(ask)["parameters"], flow, list(arguments))
    return make_plan(flow, Settings().model_copy(update=changed), lambda draft: ask(draft, parameters))


def changes(requests: list[Request]) -> list[Request]:
    """Those that change something, but for what depends on how a job or an endpoint fares."""
    return [each for each in requests if each.changes and each.service != "sagemaker-runtime"]


def actions(plan: Plan) -> set[str]:
    return {action for stage in plan.stages for action in stage.actions}


def test_a_run_asks_for_what_its_plan_says(recorded: Recorded) -> None:
    plan = plan_of("full_pipeline", *SMALL)
    planned = [request for stage in plan.stages for request in changes(stage.requests)]
    real = changes(recorded.pipeline.requests)
    assert [request.operation for request in real] == [request.operation for request in planned]
    for ours, theirs in zip(planned, real, strict=True):
        assert agrees(ours.parameters, theirs.parameters), (ours.parameters, theirs.parameters)


def test_a_plan_names_every_action_that_its_run_needs(recorded: Recorded) -> None:
    plan = plan_of("full_pipeline", *SMALL)
    assert recorded.pipeline.actions <= actions(plan)
    assert recorded.night_through_endpoint.actions <= actions(plan_of("nightly_count", *THROUGH_ENDPOINT))
    planned = actions(plan_of("deploy")) | actions(plan_of("nightly_count", *NIGHT))
    teardown = {"sagemaker:ListEndpointConfigs", "sagemaker:ListModels", "sagemaker:ListEndpoints"}
    teardown |= {"sagemaker:ListHyperParameterTuningJobs", "sagemaker:ListTrainingJobs"}
    teardown |= {"sagemaker:DeleteModel", "sagemaker:DeleteModelPackage"}
    assert recorded.after.actions <= planned | teardown


def test_a_plan_says_where_a_run_writes(recorded: Recorded) -> None:
    plan = plan_of("full_pipeline", *SMALL)
    places = [each.uri for stage in plan.stages for each in stage.storage if each.operation == "PutObject"]
    written = {f"s3://{each.bucket}/{each.key}" for each in recorded.pipeline.s3 if each.operation == "PutObject"}
    for uri in written:
        assert any(agrees(place + "<more>" if place.endswith("/") else place, uri) for place in places), uri


@pytest.mark.parametrize(("target", "option"), [("local", "--plan-json"), ("aws", "--plan")])
def test_a_plan_is_printed_and_asks_nobody(target: str, option: str, nowhere: Installation, ear: Ear) -> None:
    nowhere.environment |= {"BINVENTORY_TARGET": target, "BINVENTORY_DEBUGGER": "true"}
    if target == "aws":
        nowhere.environment |= {"BINVENTORY_AUTOSCALING_INSTANCES": "3", "BINVENTORY_TRAINING_INSTANCES": "2"}
    asked = ("--source", "abid", "--trials", "10", "--parallel-trials", "2", "--save-interval-train", "7")
    said = Commands(nowhere).run("flows.full_pipeline", *asked, option)
    assert "Traceback" not in said
    for text in (
        "CreateHyperParameterTuningJob",
        '"MaxNumberOfTrainingJobs": 10',
        "DebugRuleConfigurations",
        '"save_interval_train": "7"',
        "b<run>-train-<digest>",
        "iam:PassRole",
        "until it is deleted",
    ):
        assert text in said
    assert ("RegisterScalableTarget" in said) == (target == "aws")
    assert json.loads(said)["stages"] if option == "--plan-json" else "Nothing was sent." in said
    # Ten trials of at most four hours, two at a time: twenty hours at twice the rate.
    assert "2.816" in said
    assert "56.32" in said
    assert ear.knocks == 0
    assert not nowhere.home.exists()


def test_a_plan_ends_where_a_person_has_to_approve() -> None:
    plan = plan_of("full_pipeline", approval="manual")
    assert plan.stages[-1].name == "register"
    package = next(each for each in plan.stages[-1].requests if each.operation == "CreateModelPackage")
    assert package.parameters["ModelApprovalStatus"] == "PendingManualApproval"


@pytest.mark.parametrize(
    ("changed", "scaling"),
    [
        ({"target": "local"}, []),
        ({"target": "aws"}, ["DeregisterScalableTarget"]),
        ({"target": "aws", "autoscaling_instances": 3}, ["RegisterScalableTarget", "PutScalingPolicy"]),
    ],
)
def test_a_plan_begins_the_scaling_or_ends_it(changed: dict[str, Any], scaling: list[str]) -> None:
    requests = [each for stage in plan_of("deploy", **changed).stages for each in stage.requests]
    assert [each.operation for each in requests if each.service == "application-autoscaling"] == scaling


@pytest.mark.parametrize("begun", [("--from", "train"), ("--skip", "prepare")])
def test_a_plan_that_takes_photos_of_an_earlier_run_is_told_their_source(begun: tuple[str, str]) -> None:
    with pytest.raises(RunError, match="say --source"):
        plan_of("full_pipeline", *begun)
    plan = plan_of("full_pipeline", *begun, "--source", "abid")
    [training] = [each for stage in plan.stages for each in stage.requests if each.operation == "CreateTrainingJob"]
    channels = json.dumps(training.parameters["InputDataConfig"])
    assert "s3://binventory/datasets/abid/" in channels


@pytest.mark.parametrize("through", [(), ("--endpoint=binventory",)], ids=["jobs", "endpoint"])
def test_a_plan_of_a_night_has_its_record_and_the_model_that_may_have_been_deleted(through: tuple[str, ...]) -> None:
    plan = plan_of("nightly_count", "--prefix=s3://bins/new/", "--record=s3://wms/record.csv", *through)
    find, count, _ = plan.stages
    assert ("GetObject", "s3://wms/record.csv") in [(each.operation, each.uri) for each in find.storage]
    assert {"sagemaker:CreateModel", "sagemaker:AddTags", "iam:PassRole"} <= set(count.actions)
    assert "CreateModel only where" in count.note


def test_a_plan_has_the_stages_that_are_wanted() -> None:
    later = plan_of("full_pipeline", "--source", "demo", "--from", "train", "--skip", "night")
    stages = [stage.name for stage in later.stages]
    assert stages == ["train", "debug", "evaluate", "register", "deploy"]
    with pytest.raises(RunError, match="its own options"):
        plan_of("full_pipeline", "--resume")
    learned = plan_of("tune_and_train", "--recipe", "frozen")
    assert [stage.name for stage in learned.stages] == ["prepare", "features", "tune", "train", "debug"]
    hired = {cost.what: cost.instance for stage in learned.stages for cost in stage.costs}
    assert hired["4 tuning trials"] == hired["training job"] == Settings().head_instance
    asked = {each.operation: each for stage in learned.stages for each in stage.requests}
    search = asked["CreateHyperParameterTuningJob"]
    kept = search.parameters["TrainingJobDefinition"]["CheckpointConfig"]["S3Uri"]
    assert kept == f"s3://binventory/checkpoints/{search.parameters['HyperParameterTuningJobName']}"
    turned_away = plan_of("deploy", "--model", "7", "--reject", "too slow")
    [request] = [request for stage in turned_away.stages for request in stage.requests]
    assert request.parameters["ModelApprovalStatus"] == "Rejected"
