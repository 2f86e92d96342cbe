"""What planned requests cost at list prices: rates and ceilings, since nobody knows yet how long jobs will take."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field

from tasks.plan.rehearsal import Request
from tasks.prices import HOURLY_USD, SERVERLESS_USD

HOURS_A_MONTH = 730


class PlannedCost(BaseModel):
    """What one thing is billed at."""

    model_config = ConfigDict(frozen=True)

    what: str
    instances: int = Field(description="At the same time, at most.")
    instance: str
    usd_an_hour: float | None = Field(description="Of all instances, on demand; None where the price list lacks it.")
    at_most_hours: float | None = Field(None, description="Instance-hours divided by instances; None: until deleted.")
    note: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def at_most_usd(self) -> float | None:
        """The ceiling, if there is one and the price is known."""
        if self.usd_an_hour is None or self.at_most_hours is None:
            return None
        return round(self.usd_an_hour * self.at_most_hours, 2)


def costs_of(request: Request) -> list[PlannedCost]:
    """What a request is billed for; nothing for most."""
    return _COSTS[request.operation](request) if request.operation in _COSTS else []


def _training(request: Request) -> list[PlannedCost]:
    return [_job("training job", request.parameters, trials=1, parallel=1)]


def _tuning(request: Request) -> list[PlannedCost]:
    limits = request.parameters["HyperParameterTuningJobConfig"]["ResourceLimits"]
    trials, parallel = limits["MaxNumberOfTrainingJobs"], limits["MaxParallelTrainingJobs"]
    return [_job(f"{trials} tuning trials", request.parameters["TrainingJobDefinition"], trials, min(trials, parallel))]


def _job(what: str, asked: dict[str, Any], trials: int, parallel: int) -> PlannedCost:
    instance, count = asked["ResourceConfig"]["InstanceType"], asked["ResourceConfig"]["InstanceCount"]
    hours = asked["StoppingCondition"]["MaxRuntimeInSeconds"] / 3600
    return PlannedCost(
        what=what,
        instances=count * parallel,
        instance=instance,
        usd_an_hour=_rate(instance, count * parallel),
        at_most_hours=round(hours * trials / parallel, 2),
        note="spot is billed less" if asked.get("EnableManagedSpotTraining") else "",
    )


def _transform(request: Request) -> list[PlannedCost]:
    asked = request.parameters["TransformResources"]
    instance, count = asked["InstanceType"], asked["InstanceCount"]
    rate = _rate(instance, count)
    note = "while it runs; SageMaker sets transform jobs no limit"
    return [PlannedCost(what="transform job", instances=count, instance=instance, usd_an_hour=rate, note=note)]


def _endpoint(request: Request) -> list[PlannedCost]:
    return [_variant(variant) for variant in request.parameters["ProductionVariants"]]


def _variant(variant: dict[str, Any]) -> PlannedCost:
    if serverless := variant.get("ServerlessConfig"):
        memory = serverless["MemorySizeInMB"]
        rate = round(SERVERLESS_USD * memory / 1024 * 3600, 4)
        note = "of computing only; nothing while nobody asks"
        return PlannedCost(
            what="serverless endpoint", instances=1, instance=f"{memory} MB", usd_an_hour=rate, note=note
        )
    instance, count = variant["InstanceType"], variant["InitialInstanceCount"]
    rate = _rate(instance, count)
    month = "" if rate is None else f", {rate * HOURS_A_MONTH:.0f} USD a month"
    note = f"until it is deleted{month}"
    return PlannedCost(what="endpoint", instances=count, instance=instance, usd_an_hour=rate, note=note)


def _rate(instance: str, count: int) -> float | None:
    price = HOURLY_USD.get(instance)
    return None if price is None else round(price * count, 4)


_COSTS = {
    "CreateTrainingJob": _training,
    "CreateHyperParameterTuningJob": _tuning,
    "CreateTransformJob": _transform,
    "CreateEndpointConfig": _endpoint,
}
