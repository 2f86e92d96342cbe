"""Sections of ``summary.json``, out of what stages leave; a stage that did not run has none."""

from typing import Any

from tasks.data.prepared_data import PreparedData
from tasks.debugger.stage import DebuggedJob
from tasks.evaluation.reference import BENCHMARK
from tasks.evaluation.results import EvaluatedModel
from tasks.features import StoredFeatures
from tasks.nightly.held_back import FirstNight
from tasks.prices import HOURLY_USD, summed
from tasks.release.deployment import Deployment
from tasks.release.registry import RegisteredModel
from tasks.run_record import Run
from tasks.training_job import TrainedModel
from tasks.tuning import TunedHyperparameters

Sections = dict[str, Any]


def tell_preparation(data: PreparedData) -> Sections:
    """What was listed, and how it was split."""
    return {"images": data.images.model_dump(), "splits": data.splits.model_dump()}


def tell_tuning(best: TunedHyperparameters) -> Sections:
    """The search, and its best trial."""
    found = best.model_dump(include={"job_name", "jobs", "objective"})
    return {"tuning": found | {"best": best.model_dump(include={"lr", "batch_size"})}}


def tell_training(model: TrainedModel) -> Sections:
    """The training job and its phases."""
    return {"training": model.model_dump(include={"job_name", "seconds", "phases"})}


def tell_debugging(debugged: DebuggedJob) -> Sections:
    """Status by rule."""
    return {"debugger": debugged.model_dump(mode="json", include={"rules", "idle"})}


def tell_evaluation(evaluated: EvaluatedModel) -> Sections:
    """The figures, and the published ones."""
    return {"evaluation": evaluated.evaluation.model_dump(mode="json", exclude_none=True), "benchmark": BENCHMARK}


def tell_registration(model: RegisteredModel) -> Sections:
    """The package, and whether it is let in."""
    told = {"uri": model.uri, "name": model.name, "package_arn": model.arn}
    return {"model": told | {"approved": model.status == "Approved", "reason": model.reason}}


def tell_deployment(deployed: Deployment) -> Sections:
    """The endpoint, and its smoke test."""
    return {"endpoint": deployed.model_dump() | {"usd_an_hour": HOURLY_USD.get(deployed.instance)}}


def tell_night(night: FirstNight) -> Sections:
    """What the first night found."""
    return {"night": night.model_dump(exclude={"cost"})}


def costs_of(run: Run) -> Sections:
    """What the jobs of this run are billed for; nothing of a run that it goes on from.

    An endpoint is billed for as long as it is there: its price by the hour is in its own section.
    """
    kinds: dict[str, Any] = {
        "features": StoredFeatures,
        "tune": TunedHyperparameters,
        "train": TrainedModel,
        "night": FirstNight,
    }
    own = [name for name in kinds if run.has(name) and name in run.summary["stages"]]
    costs = {name: cost for name in own if (cost := run.result(name, kinds[name]).cost)}
    return {"cost": summed(costs)} if costs else {}
