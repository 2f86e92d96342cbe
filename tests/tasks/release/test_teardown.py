"""What a run left is found, and only that; deleting it leaves nothing of the run."""

import boto3

from tasks.release import registry
from tasks.release.teardown import leftovers
from tasks.settings import Settings

ROLE = "arn:aws:iam::000000000000:role/test"


def leave(run_id: str, here: Settings) -> None:
    """A model, its configuration, its package and some objects, as a run leaves them."""
    client, s3 = boto3.client("sagemaker"), boto3.client("s3")
    name = f"binventory-{run_id}-{here.bucket}"
    uri = f"s3://{here.bucket}/models/{name}/model.tar.gz"
    client.create_model(
        ModelName=name, PrimaryContainer={"Image": "pytorch", "ModelDataUrl": uri}, ExecutionRoleArn=ROLE
    )
    variant = {"VariantName": "main", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName=f"{name}-c", ProductionVariants=[variant])  # type: ignore[list-item]
    model = registry.Registration(
        name=name, uri=uri, image="pytorch", environment={}, evaluation_uri=uri, facts={"run_id": run_id}
    )
    registry.register(model, "Approved", "passed", here)
    jobs, night = f"jobs/b{run_id}-train-1/output/model.tar.gz", f"nightly/{run_id}/held-back/bin-images/1.jpg"
    for key in (f"models/{name}/model.tar.gz", jobs, night, "datasets/demo/a.jpg"):
        s3.put_object(Bucket=here.bucket, Key=key, Body=b"x")


def test_what_a_run_left_is_listed_and_deleted_and_nothing_else(here: Settings) -> None:
    mine, other = "261125-120000", "261125-120001"
    leave(mine, here)
    leave(other, here)
    found = [each for each in leftovers(mine, here) if here.bucket in each.name or each.kind == "model package"]
    assert [each.kind for each in found] == [
        "endpoint configuration",
        "model",
        "model package",
        *["objects"] * 3,
    ]
    assert len(leftovers(mine, here)) == len(found)  # listing deletes nothing
    for each in found:
        each.delete()
    assert leftovers(mine, here) == []
    assert len(leftovers(other, here)) == 6
    keys = {item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket=here.bucket)["Contents"]}
    assert "datasets/demo/a.jpg" in keys
    assert not any(mine in key for key in keys)
