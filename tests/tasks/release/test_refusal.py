"""A model that the gate turns away stays out until a person lets it in, through the flows that people start."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest

from flows.deploy import DeployParameters, deploy
from flows.evaluate import evaluate_model
from flows.full_pipeline import full_pipeline
from tasks.object_store import fetch
from tasks.pipeline.parameters import EvaluateParameters, FullPipelineParameters
from tasks.pipeline.stages import Stage
from tasks.prices import Cost
from tasks.release.registry import RegisteredModel, find_model, models
from tasks.release.serving_now import describe
from tasks.runs import open_run
from tasks.settings import Settings, settings
from tasks.training_job import TrainedModel
from tests.tasks.release.bench import Bench
from tests.tasks.test_run_record import Parameters
from training.errors import ModelError

COST = Cost(instance="ml.g5.xlarge", billable_seconds=1)


@pytest.fixture
def strict(
    here: Settings, running_services: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """Flows see the bucket of the test, services that run already, and a floor that no model is above."""
    variables = {
        "HOME": str(Path(running_services["PREFECT_HOME"]).parent),
        "BUCKET": here.bucket,
        "MODEL_GROUP": here.model_group,
        "POLL_SECONDS": "0.1",
        "SERVING_PRECISION": "float32",
        "MIN_ACCURACY": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"BINVENTORY_{name}", value)
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


def a_run_that_has_trained(bench: Bench) -> str:
    """Data, and a model that is wrong about all of it."""
    bench.model("right")
    wrong, _ = bench.model("wrong", files={"model.pth": bench.always_another("right")})
    trained = TrainedModel(job_name="j", archive=wrong.uri, seconds=1, phases={}, metrics={}, cost=COST)
    run = open_run(settings(), "tune_and_train", Parameters())
    run.keep("prepare", bench.data_that_fits("right").model_dump_json())
    run.keep("train", trained.model_dump_json())
    run.finish("completed")
    return run.run_id


def pipeline(first: Stage, donor: str, endpoint: str) -> str:
    return full_pipeline(
        FullPipelineParameters(first=first, skip=("night",), run=donor, endpoint_name=endpoint, smoke_photos=3)
    )


def check_what_is_written_down(model: RegisteredModel) -> None:
    """The registry has figures and digest with a model, and Prefect's UI shows the evaluation."""
    assert model.facts["data_digest"] == "ab"
    described = boto3.client("sagemaker").describe_model_package(ModelPackageName=model.arn)
    figures = described["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    assert json.loads(fetch(figures))["evaluation"]["accuracy"] == float(model.facts["accuracy"]) == 0
    artifacts = httpx.post(f"{os.environ['PREFECT_API_URL']}/artifacts/filter", json={}, timeout=30).json()
    kinds = {artifact["key"]: artifact["type"] for artifact in artifacts}
    wanted = {"evaluation": "markdown", "evaluation-figures": "table", "worst-errors": "image"}
    assert wanted.items() <= kinds.items()


def test_a_refused_model_is_not_deployed_until_a_person_says_so(
    bench: Bench, endpoint: str, strict: pytest.MonkeyPatch
) -> None:
    donor = a_run_that_has_trained(bench)
    refused_by = pipeline("evaluate", donor, endpoint)
    refused = models(settings())[0]
    version = str(refused.version)
    assert (refused.status, refused.facts["run_id"]) == ("Rejected", refused_by)
    assert "BINVENTORY_MIN_ACCURACY" in refused.reason
    check_what_is_written_down(refused)
    assert describe(endpoint) is None
    with pytest.raises(ModelError, match=r"is Rejected: accuracy .* is below 1"):
        pipeline("deploy", refused_by, endpoint)
    with pytest.raises(ModelError, match="is Rejected"):
        deploy(DeployParameters(model=version, endpoint_name=endpoint))
    assert describe(endpoint) is None

    deployed = deploy(DeployParameters(model=version, approve="seen with Ada", endpoint_name=endpoint))
    assert deployed is not None
    assert (deployed.status, deployed.smoke.equal) == ("InService", 3)
    approved = find_model(version, settings())
    assert (approved.status, approved.reason) == ("Approved", "seen with Ada")

    strict.setenv("BINVENTORY_MIN_ACCURACY", "0")
    strict.setenv("BINVENTORY_APPROVAL", "manual")
    settings.cache_clear()
    waiting_of = evaluate_model(EvaluateParameters(run=donor, endpoint_name=endpoint))
    waiting = models(settings())[0]
    assert (waiting.status, waiting.facts["run_id"]) == ("PendingManualApproval", waiting_of)
    deploy(DeployParameters(model=str(waiting.version), reject="counts lids"))
    assert models(settings())[0].reason == "counts lids"
