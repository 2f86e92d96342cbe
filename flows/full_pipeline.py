"""From a list of photos to an endpoint that counts, and a first night: ``python -m flows.full_pipeline --help``."""

from functools import partial

from prefect import flow
from prefect.runtime import flow_run

from flows.command_line import console, run
from flows.deploy import DeployParameters, deploy
from flows.evaluate import evaluate_model
from flows.nightly_count import nightly_count
from flows.tune_and_train import check_training, prepare, tune_and_train
from tasks.data.prepared_data import PreparedData
from tasks.evaluation.results import EvaluatedModel
from tasks.nightly.held_back import FirstNight, hold_back, outcome
from tasks.nightly.parameters import NightParameters
from tasks.pipeline.conclusion import conclude
from tasks.pipeline.parameters import EvaluateParameters, FullPipelineParameters, TuneAndTrainParameters
from tasks.pipeline.results import tell_deployment, tell_night, tell_registration
from tasks.pipeline.stages import find_earlier, set_out
from tasks.plan import pipeline as plan_pipeline
from tasks.release.deployment import Deployment
from tasks.release.registry import RegisteredModel, find_model
from tasks.run_record import Run
from tasks.runs import run_of
from tasks.services import use_cloud
from tasks.settings import Settings, settings
from training.errors import DeploymentError, LeaseError, ModelError


def _name() -> str:
    parameters = FullPipelineParameters.model_validate(flow_run.parameters["parameters"])
    if parameters.resume:
        return f"resume {parameters.resume}"
    return "full pipeline " + (
        f"on {parameters.source}" if parameters.names_its_source else f"from {parameters.stages[0]} on"
    )


@flow(name="full-pipeline", flow_run_name=_name)
def full_pipeline(parameters: FullPipelineParameters) -> str:
    """Run the stages that are wanted; returns the run's id. A run that died is picked up where it stopped."""
    here = settings()
    use_cloud(here)
    ending = partial(conclude, console=console)
    check = partial(find_earlier, parameters.stages, here, parameters.run, **_same(parameters))
    with run_of(here, "full_pipeline", parameters, resume=parameters.resume, check=check, ending=ending) as record:
        parameters = record.parameters(FullPipelineParameters)
        set_out(record, parameters.stages, here, parameters.run, **_same(parameters))
        check_training(record, parameters, here)
        prepare(record, parameters)
        if record.is_to_do("tune", "train", "debug"):
            tune_and_train(parameters.of(TuneAndTrainParameters))
        if record.is_to_do("evaluate", "register"):
            evaluate_model(parameters.of(EvaluateParameters))
        if record.is_to_do("deploy", "night") and _is_let_in(record, here):
            record.do("deploy", lambda: _deploy(record, parameters), tell_deployment)
            record.do("night", lambda: _first_night(record, parameters, here), tell_night)
    return record.run_id


def _same(parameters: FullPipelineParameters) -> dict[str, str]:
    """Return what an earlier run must have in common with this one."""
    return {"source": parameters.source} if parameters.names_its_source else {}


def _is_let_in(record: Run, here: Settings) -> bool:
    """Whether the model is approved, now: a person, or a deployment that was taken back, may have changed it.

    Raises:
        ModelError: it is not, and it was another run that registered it.
    """
    model = find_model(record.result("register", RegisteredModel).arn, here)
    if record.wants("register"):
        record.record(**tell_registration(model))
    elif model.status != "Approved":
        raise ModelError(f"model {model.version} of run {record.taken_from} is {model.status}: {model.reason}")
    return model.status == "Approved"


def _deploy(record: Run, parameters: FullPipelineParameters) -> Deployment:
    model = record.result("register", RegisteredModel)
    deployed = deploy(DeployParameters(model=model.arn, endpoint_name=parameters.endpoint_name))
    if deployed is None:
        raise DeploymentError(f"model {model.version} was not deployed")
    return deployed


def _first_night(record: Run, parameters: FullPipelineParameters, here: Settings) -> FirstNight:
    """Count photos that no training has seen, with the model just registered, as every night will."""
    model = record.result("register", RegisteredModel)
    prefix = hold_back(record.result("prepare", PreparedData).here(), record.run_id, parameters.night_photos, here)
    if nightly_count(NightParameters(prefix=prefix, model=model.arn)) is None:
        raise LeaseError(f"another run is counting photos of {here.bucket}: resume this one when it is done")
    return outcome(record.folder / "night", prefix, record.result("evaluate", EvaluatedModel).predictions)


if __name__ == "__main__":
    raise SystemExit(run(full_pipeline, FullPipelineParameters, "full_pipeline", plan_pipeline.full_pipeline))
