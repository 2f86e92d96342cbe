"""Measure a trained model, judge it by the gate, and register it: ``python -m flows.evaluate --help``."""

from functools import partial

from prefect import flow

from flows.command_line import console, run
from tasks.data.prepared_data import PreparedData
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.page import publish
from tasks.evaluation.results import EvaluatedModel
from tasks.pipeline.conclusion import conclude
from tasks.pipeline.parameters import EvaluateParameters
from tasks.pipeline.results import tell_evaluation, tell_registration
from tasks.pipeline.stages import find_earlier, set_out
from tasks.release.gate import judge
from tasks.release.package import package_model
from tasks.release.registry import RegisteredModel, register
from tasks.run_record import Run
from tasks.runs import run_of
from tasks.services import use_cloud
from tasks.settings import Settings, settings
from tasks.training_job import TrainedModel


@flow(name="evaluate", flow_run_name="evaluate")
def evaluate_model(parameters: EvaluateParameters) -> str:
    """Evaluate and register; returns the run's id. A model that the gate turns away is registered as rejected."""
    here = settings()
    use_cloud(here)
    ending, stages = partial(conclude, console=console), ("evaluate", "register")
    check = partial(find_earlier, stages, here, parameters.run)
    with run_of(here, "evaluate", parameters, check=check, ending=ending) as record:
        if record.wanted is None:
            set_out(record, stages, here, parameters.run)
        record.do("evaluate", lambda: _measure(record, parameters.endpoint_name, here), tell_evaluation)
        record.do("register", lambda: _register(record, parameters.smoke_photos, here), tell_registration)
    return record.run_id


def _measure(record: Run, endpoint_name: str, here: Settings) -> EvaluatedModel:
    data = record.result("prepare", PreparedData).here()
    evaluated = evaluate(record.result("train", TrainedModel).archive, data, endpoint_name, here)
    publish(evaluated, data, record.folder)
    return evaluated


def _register(record: Run, smoke_photos: int, here: Settings) -> RegisteredModel:
    """Package the model, judge it, and write both down in the registry."""
    evaluated = record.result("evaluate", EvaluatedModel)
    archive, data = record.result("train", TrainedModel).archive, record.result("prepare", PreparedData)
    packed = package_model(archive, evaluated, data, record.run_id, smoke_photos, here)
    verdict = judge(evaluated, packed.uri, here)
    return register(packed, verdict.status(here), verdict.text, here)


if __name__ == "__main__":
    raise SystemExit(run(evaluate_model, EvaluateParameters, "evaluate"))
