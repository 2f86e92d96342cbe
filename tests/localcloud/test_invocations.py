"""Calls of endpoints: what goes in and comes out, what fails, and many at once."""

import json
import threading
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import Hosting, answering, wait_until


def test_custom_attributes_go_both_ways(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(
        hosting.config(
            hosting.model("""
                def model_fn(model_dir):
                    return None

                def transform_fn(model, body, content_type, accept, context):
                    name = "X-Amzn-SageMaker-Custom-Attributes"
                    context.set_response_header(0, name, "got " + context.get_request_header(0, name))
                    return "ok"
            """)
        )
    )
    answer = hosting.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"", CustomAttributes="trace-1")
    assert answer["CustomAttributes"] == "got trace-1"


def test_an_error_of_the_model_is_a_model_error_with_its_status_and_message(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model()))
    with pytest.raises(ClientError) as failed:
        hosting.invoke(endpoint, b"bad")
    response: dict[str, Any] = dict(failed.value.response)
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 500
    assert response["OriginalMessage"].startswith("cannot read this one")
    assert response["LogStreamArn"].endswith(f"log-group:/aws/sagemaker/Endpoints/{endpoint}")


def test_a_model_that_dies_while_it_answers_is_a_model_error_and_comes_back(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(
        hosting.config(
            hosting.model("""
                import os

                def model_fn(model_dir):
                    return None

                def transform_fn(model, body, content_type, accept):
                    if body == b"die":
                        os._exit(3)
                    return "alive"
            """)
        )
    )
    with pytest.raises(ClientError, match="model process exited"):
        hosting.invoke(endpoint, b"die", ContentType="text/plain")
    assert hosting.invoke(endpoint, b"x", ContentType="text/plain") == b"alive"


def test_a_killed_endpoint_answers_the_next_call(hosting: Hosting, cloud: RunningCloud) -> None:
    endpoint = hosting.endpoint(
        hosting.config(
            hosting.model("""
        import os

        def model_fn(model_dir):
            return os.getpid()

        def transform_fn(model, body, content_type, accept):
            return str(model)
    """)
        )
    )
    before = hosting.invoke(endpoint)
    cloud.command("faults", "kill-endpoint", endpoint)
    assert hosting.invoke(endpoint) != before


def test_sixteen_clients_are_answered_at_the_same_time(hosting: Hosting) -> None:
    """All sixteen requests meet in the model; none is answered before the last has come."""
    endpoint = hosting.endpoint(
        hosting.config(
            hosting.model(
                """
                import threading

                meeting = threading.Barrier(16, timeout=60)

                def model_fn(model_dir):
                    return None

                def transform_fn(model, body, content_type, accept):
                    meeting.wait()
                    return body
                """,
                environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "16"},
            )
        )
    )
    answers: Counter[bytes] = Counter()

    def ask(number: int) -> None:
        answers[hosting.invoke(endpoint, f"client {number}".encode(), ContentType="text/plain")] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == Counter({f"client {number}".encode(): 1 for number in range(16)})


def test_a_body_beyond_the_limit_is_refused(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model()))
    assert json.loads(hosting.invoke(endpoint, b"x" * 6_291_456, ContentType="text/plain"))["bytes"] == 6_291_456
    with pytest.raises(ClientError) as refused:
        hosting.invoke(endpoint, b"x" * 6_291_457)
    assert refused.value.response["Error"]["Code"] in ("ValidationError", "413")


def test_variants_share_traffic_by_weight_and_can_be_named(hosting: Hosting) -> None:
    models = [hosting.model(answering("first")), hosting.model(answering("second"))]
    endpoint = hosting.endpoint(hosting.config(*models))
    assert hosting.invoke(endpoint, TargetVariant="v0") == b"first"
    assert hosting.invoke(endpoint, TargetVariant="v1") == b"second"
    assert {hosting.invoke(endpoint) for _ in range(60)} == {b"first", b"second"}
    with pytest.raises(ClientError, match="v7"):
        hosting.invoke(endpoint, TargetVariant="v7")
    hosting.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "v0", "DesiredWeight": 0}]
    )
    assert {hosting.invoke(endpoint) for _ in range(30)} == {b"second"}
    weights = [v["CurrentWeight"] for v in hosting.settle(endpoint)["ProductionVariants"]]
    assert weights == [0.0, 1.0]


def test_a_serverless_variant_is_throttled_beyond_its_concurrency(hosting: Hosting, cloud: RunningCloud) -> None:
    slow = hosting.model("""
        import pathlib, time

        def model_fn(model_dir):
            return pathlib.Path(model_dir)

        def transform_fn(model, body, content_type, accept):
            (model / "begun").touch()
            while not (model / "go").exists():
                time.sleep(0.01)
            return "done"
    """)
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    endpoint = hosting.endpoint(
        hosting.config(variants=[{"VariantName": "v0", "ModelName": slow, "ServerlessConfig": serverless}])
    )
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(hosting.invoke(endpoint)))
    thread.start()
    model = wait_until(lambda: next((cloud.home / "endpoints" / endpoint).glob("*/0/model/begun"), None)).parent
    with pytest.raises(ClientError) as throttled:
        hosting.invoke(endpoint)
    assert throttled.value.response["Error"]["Code"] == "ThrottlingException"
    (model / "go").touch()
    thread.join()
    assert answers == [b"done"]
