"""The stages from a trained model to a proven endpoint, asked for in a rehearsal."""

from tasks.data.prepared_data import PrepareParameters
from tasks.plan.placeholders import DIGEST, RUN
from tasks.plan.plan import Draft
from tasks.plan.storage import dataset_uri, read, s3, written
from tasks.release import deployment
from tasks.release.package import create_model, folder_of, registration
from tasks.release.registry import RegisteredModel, Status, register, set_status
from tasks.release.scaling import scale, stop_scaling
from tasks.release.serving_now import archive_behind
from tasks.settings import Settings

NAME = f"binventory-{RUN}-{DIGEST}"
_SERVING = (
    "sagemaker DescribeEndpoint",
    "sagemaker ListTags",
    "sagemaker DescribeEndpointConfig",
    "sagemaker DescribeModel",
    "sagemaker DescribeModelPackage",
)
_ROLLBACK = ("sagemaker UpdateEndpoint", "sagemaker DeleteEndpoint", "sagemaker DeleteEndpointConfig")


def evaluate(draft: Draft, parameters: PrepareParameters, endpoint: str) -> None:
    """Measure on this machine, beside the model that is deployed."""
    photos = read(f"{dataset_uri(parameters, draft.settings)}/", "photos to measure on")
    models = [s3("GetObject", f"s3://{draft.settings.bucket}/", "both models")]
    with draft.stage("evaluate", _SERVING, [*photos, *models]) as stage:
        archive_behind(endpoint)
        stage.note = "Computed on this machine, beside the model that is deployed, if one is."


def register_model(draft: Draft) -> None:
    """Package a model that the gate lets in, and register it."""
    here, made = draft.settings, registration(NAME, {"run_id": RUN}, draft.settings)
    status: Status = "PendingManualApproval" if here.approval == "manual" else "Approved"
    files = written(f"{folder_of(NAME, here)}/", "model.tar.gz, its evaluation, its smoke test")
    with draft.stage("register", storage=files) as stage:
        create_model(made, here)
        register(made, status, "<reason>", here)
        stage.note = "Rejected instead, and no further, where the gate does not let the model in."
    stage.known_later("CreateModelPackage", "CustomerMetadataProperties", "<what evaluation measured>")


def a_model(settings: Settings) -> RegisteredModel:
    """What a registered model looks like before it is known which."""
    made = registration(NAME, {"run_id": RUN}, settings)
    return RegisteredModel(
        arn="<model package ARN>",
        version=0,
        status="Approved",
        name=made.name,
        uri=made.uri,
        reason="",
        facts=made.facts,
    )


def find(draft: Draft, status: Status | None, reason: str) -> None:
    """Find a registered model and, with a status, let it in or turn it away."""
    with draft.stage("find", ("sagemaker ListModelPackages", "sagemaker DescribeModelPackage")):
        if status:
            set_status(a_model(draft.settings).arn, status, reason)


def deploy(draft: Draft, endpoint: str, photos: str) -> None:
    """Put a model behind an endpoint and prove it with so many photos."""
    here, model = draft.settings, a_model(draft.settings)
    cases = [s3("GetObject", f"s3://{here.bucket}/", "smoke test and its photos")]
    with draft.stage("deploy", ("sagemaker-runtime InvokeEndpoint", *_SERVING, *_ROLLBACK), cases) as stage:
        deployment.remember.fn(endpoint, model.name, here)
        config = deployment.create_config.fn(model, endpoint, RUN, here)
        stop_scaling(endpoint, deployment.VARIANT, here)
        deployment.put_config_behind(endpoint, config, None, RUN, here)
        scale(endpoint, deployment.VARIANT, here)
        deployment.mark_as_proven.fn(endpoint, config)
        stage.note = (
            f"UpdateEndpoint instead of CreateEndpoint where the endpoint is there. InvokeEndpoint for {photos} photos."
        )
