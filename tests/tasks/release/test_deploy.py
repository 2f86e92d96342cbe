"""Which model `flows.deploy` takes, and what it does to it; putting one behind an endpoint is tested elsewhere."""

from typing import Any

import pytest
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from pydantic import ValidationError

from flows import deploy as flow
from flows.deploy import DeployParameters
from tasks.release import registry
from tasks.release.deployment import Deployment
from tasks.release.registry import RegisteredModel
from tasks.release.smoke import SmokeTest
from tasks.settings import Settings
from tests.tasks.release.test_registry import registration
from training.errors import ModelError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "7", "approve": "seen with Ada", "reject": "counts lids"}, "give one of the three"),
        ({"model": "7", "reject": "counts lids", "list": True}, "give one of the three"),
        ({"model": "7", "approve": ""}, "at least 1 character"),
        ({"reject": "counts lids"}, "--reject needs --model"),
    ],
)
def test_what_could_mean_two_things_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DeployParameters.model_validate(given)


def test_a_reason_without_a_model_lets_in_the_newest_that_waits(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed: list[str] = []

    def release(model: RegisteredModel, *_: object) -> Deployment:
        deployed.append(f"{model.name}: {model.status}, {model.reason}")
        smoke = SmokeTest(photos=1, equal=1, largest_difference=0)
        return Deployment(name="bins", status="InService", smoke=smoke, seconds=1)

    for name, part in {"settings": lambda: here, "use_cloud": lambda _: None, "read_cases": lambda _: []}.items():
        monkeypatch.setattr(flow, name, part)
    monkeypatch.setattr(flow, "release", release)
    registry.register(registration("old"), "Approved", "passed", here)
    registry.register(registration("m7"), "PendingManualApproval", "waits for a person", here)
    registry.register(registration("m8"), "PendingManualApproval", "waits for a person", here)
    registry.register(registration("m9"), "Rejected", "worse", here)
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):  # the server may go before the log is sent
        flow.deploy(DeployParameters())
        for reason in ("seen with Ada", "seen with Bob"):
            flow.deploy(DeployParameters(approve=reason))
        with pytest.raises(ModelError, match="waits to be approved"):
            flow.deploy(DeployParameters(approve="seen with Eve"))
    assert deployed == ["old: Approved, passed", "m8: Approved, seen with Ada", "m7: Approved, seen with Bob"]
