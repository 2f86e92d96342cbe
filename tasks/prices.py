"""What jobs cost: billable seconds times AWS's price list."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PRICED_AT = "2025-06"
"""When the list below was copied; prices change a few times a year: https://aws.amazon.com/sagemaker/ai/pricing/.

Those of g6 are of August 2026; g5.2xlarge and g5.12xlarge cost then what they do here.
"""

PRICED_IN = "us-east-1"
"""The region whose prices these are; others differ."""

HOURLY_USD = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.c5.4xlarge": 0.816,
    "ml.c7i.large": 0.107,
    "ml.c7i.xlarge": 0.214,
    "ml.c7i.2xlarge": 0.428,
    "ml.c7i.4xlarge": 0.857,
    "ml.g4dn.xlarge": 0.736,
    "ml.g4dn.2xlarge": 0.94,
    "ml.g4dn.12xlarge": 4.89,
    "ml.g5.xlarge": 1.408,
    "ml.g5.2xlarge": 1.515,
    "ml.g5.12xlarge": 7.09,
    "ml.g6.2xlarge": 1.222,
    "ml.g6.4xlarge": 1.654,
    "ml.g6.12xlarge": 5.752,
}
"""US dollars an hour of an instance, on demand; the same in a job and behind an endpoint."""

SERVERLESS_USD = 0.00002
"""US dollars a second of computing and GB of memory of a serverless endpoint."""


class Cost(BaseModel):
    """What a stage is billed for."""

    model_config = ConfigDict(frozen=True)

    instance: str
    billable_seconds: int = Field(description="As SageMaker bills them, of all instances; spot's discount is in them.")

    @property
    def usd(self) -> float | None:
        """At the price list; None for an instance type that it lacks."""
        hourly = HOURLY_USD.get(self.instance)
        return None if hourly is None else round(self.billable_seconds / 3600 * hourly, 4)


def told(summary: dict[str, Any], stage: str) -> Cost | None:
    """What a summary tells of a stage's cost; None where it tells nothing."""
    section = summary.get("cost", {})
    if stage not in section.get("instances", {}):
        return None
    return Cost(instance=section["instances"][stage], billable_seconds=section["billable_seconds"][stage])


def summed(costs: dict[str, Cost]) -> dict[str, object]:
    """The section ``cost`` of a summary: billable seconds by stage, and dollars where the price is known.

    Stages whose instance has no price in the list are named as ``unpriced``: the sum is without them.
    On the embedded cloud nothing is billed; the figure is what the same seconds would cost on AWS.
    """
    known = {stage: cost.usd for stage, cost in costs.items() if cost.usd is not None}
    section: dict[str, object] = {
        "billable_seconds": {stage: cost.billable_seconds for stage, cost in costs.items()},
        "instances": {stage: cost.instance for stage, cost in costs.items()},
    }
    if known:
        section |= {"usd": known, "total_usd": round(sum(known.values()), 4)}
        section |= {"priced_at": PRICED_AT, "priced_in": PRICED_IN}
    if unpriced := [stage for stage in costs if stage not in known]:
        section["unpriced"] = unpriced
    return section
