"""The client, at a real endpoint: any kind of photo in, typed answers out, and a busy endpoint is asked again."""

from pathlib import Path

import pytest
from PIL import Image

from serving.prediction import Prediction
from serving.predictor import MAX_BODY, ImagePredictor
from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import Hosting
from tests.serving.photos import encoded, picture
from tests.serving.web import PHOTO, Web
from training.errors import DeploymentError, PhotoError, RequestError


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


def test_throttling_is_waited_out(predictor: ImagePredictor, running_cloud: RunningCloud) -> None:
    running_cloud.command("faults", "throttle", "3", "--operation", "InvokeEndpoint")
    assert same(predictor.predict(PHOTO), predictor.predict(PHOTO))


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
