"""What an endpoint refuses, and which model is behind it."""

from pathlib import Path

import obstore
import pytest

from serving.predictor import ImagePredictor
from tasks.nightly import model as choosing
from tasks.nightly.endpoint import count_by_endpoint
from tasks.nightly.model import model_of_night
from tasks.nightly.outcomes import Outcome
from tasks.nightly.parameters import NightParameters
from tasks.nightly.photos import list_objects
from tasks.nightly.thumbnails import thumbnails
from tasks.object_store import ensure_bucket, open_store
from tasks.release.registry import RegisteredModel
from tasks.settings import Settings
from tests.nights import photo
from training.errors import ModelError, RequestError


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def count(name: str, *bodies: bytes) -> list[Outcome]:
    ensure_bucket(f"s3://{name}")
    for number, body in enumerate(bodies):
        obstore.put(open_store(f"s3://{name}"), f"{number}.jpg", body)
    return list(count_by_endpoint(list(list_objects(f"s3://{name}/")), "counter").values())


def test_a_photo_too_large_for_an_endpoint_stays_uncounted_and_says_why(s3: Path) -> None:
    [outcome] = count("too-large", photo(3) + b"\0" * 8_000_000)
    assert outcome.status == "uncounted"
    assert "an endpoint takes at most 6,291,456" in (outcome.reason or "")


@pytest.mark.parametrize("status", [400, 404, 413, 429])
def test_a_refusal_makes_only_those_unreadable_that_nobody_can_read(
    s3: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise RequestError("not this one", status)

    monkeypatch.setattr(ImagePredictor, "predict", refuse)
    good, broken = count(f"refused-{status}", photo(3), b"no photo")
    assert (good.status, good.reason) == ("uncounted", f"the endpoint refuses it with status {status}: not this one")
    assert (broken.status, broken.reason) == ("unreadable", "not this one")


def test_neither_count_nor_thumbnail_is_of_bytes_that_replaced_the_photo(
    s3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(ImagePredictor, "predict", lambda self, body: asked.append(body))
    count("replaced", photo(3))
    [listed] = list_objects("s3://replaced/")
    assert list(thumbnails([listed])) == [listed.photo]
    asked.clear()
    obstore.put(open_store("s3://replaced"), "0.jpg", photo(5))
    [outcome] = count_by_endpoint([listed], "counter").values()
    assert (outcome.status, outcome.reason, asked) == ("unreadable", "the object is gone, or was replaced", [])
    assert thumbnails([listed]) == {}


def registered(version: int, status: str = "Approved") -> RegisteredModel:
    return RegisteredModel.model_validate(
        {"arn": f"arn:{version}", "version": version, "status": status, "name": f"m{version}", "uri": f"s3://m/{version}",
         "reason": "", "facts": {}}
    )  # fmt: skip


UNKNOWN = -1


@pytest.mark.parametrize(
    ("served", "approved", "asked", "chosen", "said"),
    [
        (2, 2, "newest", 2, ""),
        (1, 2, "newest", 1, "serves model version 1, which is Rejected; the newest that is approved is version 2"),
        (1, None, "newest", 1, "none is approved"),
        (
            9,
            2,
            "newest",
            2,
            "serves no model of the group 'binventory'; bins are judged by the thresholds of version 2",
        ),
        (1, 2, "2", 2, "serves model version 1; bins are judged by the thresholds of version 2"),
        (9, None, "newest", None, "none there is approved"),
        (UNKNOWN, 2, "newest", 2, "its model was deleted); bins are judged by the thresholds of version 2"),
        (0, 2, "newest", None, "no endpoint counter in service"),
    ],
)
def test_an_endpoint_s_answers_are_judged_by_the_model_that_it_serves(
    monkeypatch: pytest.MonkeyPatch, served: int, approved: int | None, asked: str, chosen: int | None, said: str
) -> None:
    def newest(settings: Settings) -> RegisteredModel:
        if approved is None:
            raise ModelError("none is approved")
        return registered(approved)

    def behind(endpoint: str) -> str | None:
        if served == UNKNOWN:
            raise ModelError("its model was deleted")
        return f"s3://m/{served}" if served else None

    monkeypatch.setattr(choosing, "archive_behind", behind)
    monkeypatch.setattr(choosing, "approved_model", newest)
    monkeypatch.setattr(choosing, "find_model", lambda which, settings: registered(int(which)))
    monkeypatch.setattr(choosing, "models", lambda settings: [registered(2), registered(1, "Rejected")])
    parameters = NightParameters(prefix="s3://bins/x", endpoint="counter", model=asked)
    if chosen is None:
        with pytest.raises(ModelError, match=said):
            model_of_night(parameters, Settings())
        return
    model, remarks = model_of_night(parameters, Settings())
    assert model.version == chosen
    assert said in " ".join(remarks)
    assert bool(remarks) == bool(said)
