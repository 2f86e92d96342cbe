"""Lets an endpoint have more instances when it is asked more; on AWS only."""

import boto3

from tasks.settings import Settings

CALLS_A_MINUTE = 600.0
"""Invocations of an instance and minute that the scaling aims at: ten photos a second."""
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def scale(endpoint_name: str, variant: str, settings: Settings) -> None:
    """Track invocations per instance, between one instance and ``settings.autoscaling_instances``; 1 does nothing."""
    if settings.autoscaling_instances == 1:
        return
    client = boto3.client("application-autoscaling")
    resource = f"endpoint/{endpoint_name}/variant/{variant}"
    client.register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=resource,
        ScalableDimension=_DIMENSION,
        MinCapacity=1,
        MaxCapacity=settings.autoscaling_instances,
    )
    client.put_scaling_policy(
        PolicyName=f"{endpoint_name}-invocations",
        ServiceNamespace="sagemaker",
        ResourceId=resource,
        ScalableDimension=_DIMENSION,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": CALLS_A_MINUTE,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            "ScaleInCooldown": 300,
            "ScaleOutCooldown": 60,
        },
    )
