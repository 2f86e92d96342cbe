"""Data capture writes what an endpoint was asked and what it answered to S3, as AWS does."""

import base64
import json
import re
from typing import Any

from tests.localcloud.hosting import Hosting, wait_until


def capturing(hosting: Hosting, *modes: str, **more: Any) -> str:
    """An endpoint that captures everything it is asked to, under `captured/`."""
    config = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{hosting.bucket}/captured",
        "CaptureOptions": [{"CaptureMode": mode} for mode in modes],
        **more,
    }
    return hosting.endpoint(hosting.config(hosting.model(), DataCaptureConfig=config))


def captured(hosting: Hosting) -> dict[str, bytes]:
    found: dict[str, bytes] = wait_until(lambda: hosting.read("captured/"))
    return found


def test_a_captured_exchange_has_awss_form_and_place(hosting: Hosting) -> None:
    json_types = {"JsonContentTypes": ["application/json"]}
    endpoint = capturing(hosting, "Input", "Output", CaptureContentTypeHeader=json_types)
    hosting.runtime.invoke_endpoint(
        EndpointName=endpoint,
        Body=b"\xff\xd8photo",
        ContentType="image/jpeg",
        CustomAttributes="trace",
        InferenceId="inference-1",
    )
    ((key, content),) = captured(hosting).items()
    place = rf"{endpoint}/v0/\d{{4}}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{{3}}-[0-9a-f-]{{36}}\.jsonl"
    assert re.fullmatch(place, key)
    line = json.loads(content)
    sent, answered = line["captureData"]["endpointInput"], line["captureData"]["endpointOutput"]
    assert base64.b64decode(sent.pop("data")) == b"\xff\xd8photo"
    assert sent == {"observedContentType": "image/jpeg", "mode": "INPUT", "encoding": "BASE64"}
    assert json.loads(answered.pop("data"))["bytes"] == 7
    assert answered == {"observedContentType": "application/json", "mode": "OUTPUT", "encoding": "JSON"}
    event = line["eventMetadata"]
    assert (event["customAttributes"], event["inferenceId"]) == (["trace"], "inference-1")
    assert re.fullmatch(r"[0-9a-f-]{36}", event["eventId"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["inferenceTime"])
    assert line["eventVersion"] == "0"


def test_only_the_side_that_was_asked_for_is_captured(hosting: Hosting) -> None:
    endpoint = capturing(hosting, "Input", CaptureContentTypeHeader={"CsvContentTypes": ["text/csv"]})
    hosting.invoke(endpoint, b"1,2", ContentType="text/csv")
    (content,) = captured(hosting).values()
    data = json.loads(content)["captureData"]
    assert data == {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"}
    }


def test_deleting_the_endpoint_loses_no_captured_exchange(hosting: Hosting) -> None:
    endpoint = capturing(hosting, "InputAndOutput")
    for _ in range(20):
        hosting.invoke(endpoint)
    hosting.sagemaker.delete_endpoint(EndpointName=endpoint)
    wait_until(lambda: b"".join(hosting.read("captured/").values()).count(b"\n") == 20)


def test_the_description_says_what_is_captured_and_nothing_is_when_it_is_off(hosting: Hosting) -> None:
    endpoint = capturing(hosting, "Input", EnableCapture=False, InitialSamplingPercentage=30)
    described = hosting.settle(endpoint)["DataCaptureConfig"]
    assert described["EnableCapture"] is False
    assert (described["CaptureStatus"], described["CurrentSamplingPercentage"]) == ("Stopped", 30)
    hosting.invoke(endpoint)
    hosting.sagemaker.delete_endpoint(EndpointName=endpoint)
    sampled_out = capturing(hosting, "Input", InitialSamplingPercentage=0)
    hosting.invoke(sampled_out)
    kept = capturing(hosting, "Input")
    hosting.invoke(kept)
    assert {key.partition("/")[0] for key in captured(hosting)} == {kept}
