"""Who is to blame for a deployment that failed, and what its rollback leaves alone; AWS's part is played."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.plan.rehearsal import Rehearsal, rehearsing
from tasks.release import deployment, waiting
from tasks.release.deployment import bring_back, put_behind, put_config_behind, remember
from tasks.release.serving_now import EndpointState
from tasks.settings import Settings
from training.errors import DeploymentError, FaultyModelError

HERE = Settings(poll_seconds=0.01)
RUN = "261125-120000"


@pytest.fixture
def aws() -> Iterator[Rehearsal]:
    with rehearsing("us-east-1") as rehearsal:
        yield rehearsal


def described(monkeypatch: pytest.MonkeyPatch, *states: EndpointState | None) -> None:
    """An endpoint that goes through these states, one a look; the last one stays."""
    left = list(states)
    for module in (deployment, waiting):
        monkeypatch.setattr(module, "describe", lambda _: left.pop(0) if len(left) > 1 else left[0])


def state(status: str, config: str = "theirs", reason: str = "", run: str | None = None) -> EndpointState:
    return EndpointState(arn="arn:aws:sagemaker:e", status=status, config=config, reason=reason, run=run)


def deleted(aws: Rehearsal) -> list[str]:
    return [request.operation for request in aws.requests if request.operation.startswith("Delete")]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("The primary container for production variant main did not pass the ping health check.", FaultyModelError),
        ("CannotStartContainerError. Please ensure the model container starts correctly.", FaultyModelError),
        ("Failed to extract model data archive for container.", FaultyModelError),
        (
            "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error.",
            DeploymentError,
        ),
        ("Failed to download model data for container. Please ensure that the role has permissions.", DeploymentError),
        ("", DeploymentError),
    ],
)
def test_a_model_is_to_blame_only_if_its_container_failed(
    aws: Rehearsal, monkeypatch: pytest.MonkeyPatch, reason: str, kind: type[DeploymentError]
) -> None:
    described(monkeypatch, state("Failed", "new", reason))
    with pytest.raises(DeploymentError, match="did not come up with new") as failed:
        put_config_behind("bins", "new", None, RUN, HERE)
    assert type(failed.value) is kind


@pytest.mark.parametrize(
    ("serverless", "memory_mb", "said"),
    [(False, 3072, "is one with instances"), (True, 0, "is serverless")],
)
def test_an_endpoint_does_not_change_between_serverless_and_instances(
    aws: Rehearsal, monkeypatch: pytest.MonkeyPatch, serverless: bool, memory_mb: int, said: str
) -> None:
    described(monkeypatch, state("InService").model_copy(update={"serverless": serverless}))
    here = HERE.model_copy(update={"serverless_memory_mb": memory_mb, "target": "aws"})
    with pytest.raises(DeploymentError, match=rf"{said}.*--endpoint-name.*delete-endpoint"):
        put_behind.fn("bins", "mine-c", RUN, here)
    assert aws.requests == []  # no scaling was ended either


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack"])
def test_what_an_endpoint_serves_once_its_change_is_over_is_gone_back_to(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    described(monkeypatch, state(status, "before"), state(status, "before"), state("InService", "after"))
    assert remember.fn("bins", "mine", HERE) == "after"


@pytest.mark.parametrize(
    ("found", "gone"),
    [
        (state("InService", "mine-c", run=RUN), True),
        (state("InService", "mine-c", run="261125-120001"), False),  # somebody's, which this release has updated
        (state("InService", "mine-c"), False),
        (state("UpdateRollbackFailed", "theirs", run=RUN), False),
        (None, False),
    ],
)
def test_a_rollback_deletes_no_endpoint_but_what_its_run_made(
    aws: Rehearsal, monkeypatch: pytest.MonkeyPatch, found: EndpointState | None, gone: bool
) -> None:
    described(monkeypatch, found, found, None)
    changes: Any = SimpleNamespace(
        get={"endpoint_name": "bins", "before": None, "settings": HERE, "candidate": "mine-c", "run_id": RUN}.get
    )
    bring_back(changes)
    stays = found is not None and found.config == "mine-c" and not gone
    assert deleted(aws) == ["DeleteEndpoint"] * gone + ["DeleteEndpointConfig"] * (not stays)


def test_a_rollback_before_anything_was_made_deletes_nothing(aws: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, state("UpdateRollbackFailed", run=RUN))
    changes: Any = SimpleNamespace(get={"endpoint_name": "bins", "before": None, "settings": HERE, "run_id": RUN}.get)
    bring_back(changes)
    assert deleted(aws) == []
