"""The client, at a real endpoint: any kind of photo in, typed answers out, and a busy endpoint is asked again."""

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from PIL import Image

from serving import predictor as predictor_module
from serving.prediction import Prediction
from serving.predictor import AHEAD, MAX_BODY, ImagePredictor
from tasks.transient import is_transient
from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import Hosting, answering
from tests.serving.photos import encoded, picture
from tests.serving.web import PHOTO, Web
from training.errors import DeploymentError, FaultyModelError, PhotoError, RequestError


@pytest.fixture
def predictor(endpoint: str, running_cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch) -> ImagePredictor:
    for name, value in running_cloud.variables.items():
        monkeypatch.setenv(name, value)
    return ImagePredictor(endpoint)


def same(one: Prediction, other: Prediction) -> bool:
    """Whether two answers agree, up to how the sums of batches of different sizes are rounded."""
    return one.count == other.count and one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_every_kind_of_photo_is_answered(predictor: ImagePredictor, hosting: Hosting, web: Web, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(PHOTO)
    wanted = predictor.predict(PHOTO)
    assert wanted.count in range(1, 6)
    assert wanted.confidence == max(wanted.probabilities.values())
    assert wanted.model == "v7"
    uri = hosting.put("predictor.jpg", PHOTO)
    answers = predictor.predict([file, str(file), PHOTO, web.url("photo"), uri])
    assert all(same(answer, wanted) for answer in answers)
    image = picture()
    assert same(predictor.predict(image), predictor.predict(encoded(image, "PNG")))
    assert isinstance(predictor.predict(Image.open(file)), Prediction)
    assert predictor.predict(image.convert("CMYK")).count in range(1, 6)
    assert predictor.predict([]) == []


def exif(orientation: int, *, malformed: bool = False) -> bytes:
    """EXIF as a camera writes it; or with a resolution that is text, which Pillow reads and cannot write."""
    entries = [struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)]
    if malformed:
        entries.append(struct.pack(">HHI4s", 0x011A, 2, 3, b"72\0"))
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(entries)) + b"".join(entries) + bytes(4)


def test_a_picture_is_answered_as_its_file_is(predictor: ImagePredictor, tmp_path: Path) -> None:
    lying = predictor.predict(PHOTO)
    for orientation in range(2, 9):
        file = tmp_path / f"{orientation}.jpg"
        file.write_bytes(encoded(picture(), exif=exif(orientation)))
        wanted = predictor.predict(file)
        assert not same(wanted, lying)
        with Image.open(file) as image:
            assert same(predictor.predict(image), wanted), orientation
        with Image.open(io.BytesIO(encoded(picture(), exif=exif(orientation, malformed=True)))) as image:
            assert same(predictor.predict(image), wanted), orientation
    with Image.open(io.BytesIO(encoded(picture(), exif=b"Exif\0\0no EXIF at all"))) as image:
        assert same(predictor.predict(image), lying)

    grey = picture().convert("L")
    sixteen_bits = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for mode in ("I;16", "I"):
        assert same(predictor.predict(sixteen_bits.convert(mode)), predictor.predict(encoded(grey, "PNG"))), mode


def test_throttling_is_waited_out(predictor: ImagePredictor, running_cloud: RunningCloud) -> None:
    running_cloud.command("faults", "throttle", "3", "--operation", "InvokeEndpoint")
    assert same(predictor.predict(PHOTO), predictor.predict(PHOTO))


class Busy:
    """A client whose endpoint's own server says so many times that its queue is full."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, 0

    def invoke_endpoint(self, **_: object) -> dict[str, io.BytesIO]:
        self.asked += 1
        if self.asked > self.times:
            answer = Prediction.from_probabilities((1, 2), [0.3, 0.7], "v7")
            return {"Body": io.BytesIO(json.dumps(answer.to_dict()).encode())}
        told: Any = {"Error": {"Code": "ModelError", "Message": "full"}, "OriginalStatusCode": 503}
        raise ClientError(told, "InvokeEndpoint")


def test_a_full_queue_is_waited_out_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(predictor_module, "time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patient = ImagePredictor("bins")
    busy = Busy(5)
    monkeypatch.setattr(patient, "_client", busy)
    assert patient.predict(PHOTO).count == 2
    assert (busy.asked, len(pauses)) == (6, 5)
    busy = Busy(100)
    monkeypatch.setattr(patient, "_client", busy)
    with pytest.raises(DeploymentError, match="bins did not answer"):
        patient.predict(PHOTO)
    assert busy.asked == 6


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, DeploymentError),
        ({"Error": {"Code": "AccessDeniedException", "Message": "is not authorized"}}, DeploymentError),
        ({"Error": {"Code": "ModelError", "Message": "full"}, "OriginalStatusCode": 503}, DeploymentError),
        ({"Error": {"Code": "ModelError", "Message": "traceback"}, "OriginalStatusCode": 500}, FaultyModelError),
        ({"Error": {"Code": "ModelError", "Message": "exited"}, "OriginalStatusCode": 0}, FaultyModelError),
    ],
)
def test_a_model_that_fails_is_told_from_an_endpoint_that_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, told: Any, kind: type[DeploymentError]
) -> None:
    def refuse(**_: object) -> None:
        raise ClientError(told, "InvokeEndpoint")

    monkeypatch.setattr(predictor_module, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    asking = ImagePredictor("bins")
    monkeypatch.setattr(asking, "_client", SimpleNamespace(invoke_endpoint=refuse))
    with pytest.raises(DeploymentError, match="bins did not answer") as failed:
        asking.predict(PHOTO)
    assert type(failed.value) is kind


class Silent:
    """A client whose endpoint takes a photo and never answers."""

    def invoke_endpoint(self, **_: object) -> None:
        raise ReadTimeoutError(endpoint_url="https://runtime.sagemaker.example")


class Telling:
    """A client whose endpoint tells how many bytes a photo has, as its count."""

    def __init__(self) -> None:
        self.answered: list[int] = []

    def invoke_endpoint(self, *, Body: bytes, **_: object) -> dict[str, io.BytesIO]:
        answer = Prediction.from_probabilities((len(Body),), [1.0], "v7")
        self.answered.append(len(Body))
        return {"Body": io.BytesIO(json.dumps(answer.to_dict()).encode())}


def test_a_generator_of_photos_is_taken_as_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    asking, telling, waiting = ImagePredictor("bins", concurrency=3), Telling(), []

    def photos() -> Iterator[bytes]:
        for number in range(200):
            waiting.append(number - len(telling.answered))
            yield bytes(number)

    monkeypatch.setattr(asking, "_client", telling)
    assert [each.count for each in asking.predict(photos())] == list(range(200))
    assert max(waiting) <= AHEAD * 3


def test_no_answer_is_an_error_of_the_endpoint_and_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    predictor = ImagePredictor("bins")
    monkeypatch.setattr(predictor, "_client", Silent())
    with pytest.raises(DeploymentError, match="endpoint bins did not answer: Read timeout") as caught:
        predictor.predict(PHOTO)
    assert is_transient(caught.value)


def test_what_the_endpoint_refuses_says_why(predictor: ImagePredictor, web: Web) -> None:
    with pytest.raises(RequestError, match="not a whole JPEG or PNG") as refused:
        predictor.predict(b"\xff\xd8 no photo")
    assert refused.value.status == 400
    assert "Traceback" not in str(refused.value)
    with pytest.raises(RequestError, match="not at a public address") as refused:
        predictor.predict(f"http://127.0.0.1:{web.canary.port}/")
    assert refused.value.status == 403
    assert web.canary.visits == 0


def test_what_cannot_be_sent_says_why(predictor: ImagePredictor, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"absent\.jpg cannot be read"):
        predictor.predict(tmp_path / "absent.jpg")
    with pytest.raises(PhotoError, match="make it smaller"):
        predictor.predict(bytes(MAX_BODY + 1))
    with pytest.raises(DeploymentError, match="no-such-endpoint"):
        ImagePredictor("no-such-endpoint").predict(PHOTO)


def test_a_photo_too_large_for_serverless_says_so(predictor: ImagePredictor, hosting: Hosting, tmp_path: Path) -> None:
    answer = Prediction.from_probabilities((1, 2), [0.3, 0.7], "v7")
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    model = hosting.model(answering(json.dumps(answer.to_dict())))
    variants = [{"VariantName": "v0", "ModelName": model, "ServerlessConfig": serverless}]
    asking = ImagePredictor(hosting.endpoint(hosting.config(variants=variants)))
    (tmp_path / "largest.jpg").write_bytes(bytes(4_194_304))
    (tmp_path / "larger.jpg").write_bytes(bytes(4_194_305))
    assert asking.predict(tmp_path / "largest.jpg") == answer
    with pytest.raises(
        PhotoError,
        match=r"larger\.jpg has 4,194,305 bytes; endpoint .* takes less, a serverless one 4 MB: make it smaller",
    ):
        asking.predict(tmp_path / "larger.jpg")
    with pytest.raises(RequestError, match="not a whole JPEG or PNG"):
        predictor.predict(tmp_path / "larger.jpg")  # any other endpoint takes it, and looks at it


@pytest.mark.parametrize(
    ("code", "said"),
    [("ValidationError", "Request 1f has oversize body."), ("413", "HTTP content length exceeded 5246976 bytes.")],
)
def test_what_aws_refuses_for_its_size_is_told_so(monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    """In AWS's own words; see issues 4271 and 171 of aws/sagemaker-python-sdk."""

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": said}}, "InvokeEndpoint")

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    asking = ImagePredictor("bins")
    monkeypatch.setattr(asking, "_client", SimpleNamespace(invoke_endpoint=refuse))
    with pytest.raises(PhotoError, match=r"endpoint bins takes less.*make it smaller"):
        asking.predict(PHOTO)
