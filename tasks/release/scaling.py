"""Lets an endpoint have more instances when it is asked more; on AWS only."""

import logging
from typing import Any

import boto3
from botocore.exceptions import ClientError

from tasks.jobs import is_denied
from tasks.settings import Settings

log = logging.getLogger(__name__)
CALLS_A_MINUTE = 600.0
"""Invocations of an instance and minute that the scaling aims at: ten photos a second."""
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def scale(endpoint_name: str, variant: str, settings: Settings) -> None:
    """Track invocations per instance, between one instance and ``settings.autoscaling_instances``; 1 does nothing."""
    if settings.autoscaling_instances == 1:
        return
    client, target = boto3.client("application-autoscaling"), _target(endpoint_name, variant)
    client.register_scalable_target(**target, MinCapacity=1, MaxCapacity=settings.autoscaling_instances)
    client.put_scaling_policy(
        **target,
        PolicyName=f"{endpoint_name}-invocations",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": CALLS_A_MINUTE,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            "ScaleInCooldown": 300,
            "ScaleOutCooldown": 60,
        },
    )


def stop_scaling(endpoint_name: str, variant: str, settings: Settings) -> None:
    """End the scaling that an earlier deployment asked for, where ``settings.autoscaling_instances`` is 1 by now.

    To be called before the endpoint is updated: AWS gives what scales no other instance type.
    """
    if settings.target == "local" or settings.autoscaling_instances > 1:
        return
    client = boto3.client("application-autoscaling")
    try:
        client.deregister_scalable_target(**_target(endpoint_name, variant))
    except client.exceptions.ObjectNotFoundException:
        return  # it has never scaled
    except ClientError as error:
        if not is_denied(error):
            raise
        log.warning("whether endpoint %s still scales is not known, and it may not be ended: %s", endpoint_name, error)


def _target(endpoint_name: str, variant: str) -> Any:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint_name}/variant/{variant}",
        "ScalableDimension": _DIMENSION,
    }
