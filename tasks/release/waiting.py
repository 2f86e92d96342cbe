"""Waits for an endpoint that is being changed: SageMaker refuses to change or delete it until then."""

import time

import boto3

from tasks.polling import pauses
from tasks.release.serving_now import EndpointState, describe
from tasks.settings import Settings
from training.errors import DeploymentError

ENDPOINT_MINUTES = 30


def settled(endpoint_name: str, settings: Settings) -> EndpointState:
    """The endpoint once it is not being changed any more.

    Raises:
        DeploymentError: it is still being changed after half an hour, or is gone.
    """
    deadline, pause = time.monotonic() + ENDPOINT_MINUTES * 60, pauses(settings.poll_seconds)
    while True:
        found = describe(endpoint_name)
        if found is None:
            raise DeploymentError(f"endpoint {endpoint_name} is gone: somebody else deleted it")
        if not found.changing:
            return found
        if time.monotonic() > deadline:
            raise DeploymentError(f"endpoint {endpoint_name} is {found.status} after {ENDPOINT_MINUTES} minutes")
        time.sleep(next(pause))


def delete_endpoint(endpoint_name: str, settings: Settings) -> None:
    """Delete an endpoint, once it is not being changed, and wait until it is gone: it costs nothing, its name is free.

    Raises:
        DeploymentError: it is still there after half an hour.
    """
    client = boto3.client("sagemaker")
    deadline, pause = time.monotonic() + ENDPOINT_MINUTES * 60, pauses(settings.poll_seconds)
    while (found := describe(endpoint_name)) is not None:
        if time.monotonic() > deadline:
            raise DeploymentError(
                f"endpoint {endpoint_name} is {found.status} after {ENDPOINT_MINUTES} minutes, and could not be deleted"
            )
        if not found.changing:
            client.delete_endpoint(EndpointName=endpoint_name)
        time.sleep(next(pause))
