"""Photos and records that S3 gives in part, or not at all."""

import datetime as dt
import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from serving.predictor import ImagePredictor
from tasks.nightly import count, photos
from tasks.nightly.endpoint import ASKERS, count_by_endpoint
from tasks.nightly.parameters import NightParameters
from tasks.nightly.patience import GIVE_UP_AFTER
from tasks.nightly.photos import NightPhoto, read_object, s3_client
from tasks.nightly.plan import _chunks
from tasks.nightly.record import with_record
from tests.nights import metadata, photo
from tests.tasks.bucket_server import serving
from tests.tasks.data.odd_server import ODD, serving_oddly
from training.errors import ForbiddenObjectError, NoAnswerError, SourceError, TransferError

Put = Callable[[str], NightPhoto]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put a photo into the folder that the test serves as a bucket."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")

    def one(key: str) -> NightPhoto:
        path = tmp_path / "bins" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body := photo(3))
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        now = dt.datetime.now(dt.UTC)
        return NightPhoto(photo=key, bucket="bins", key=key, etag=etag, bytes=len(body), taken_at=now)

    return one


def test_a_photo_that_was_cut_is_read_again(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [put(f"new/{number}.jpg") for number in range(12)]
    with serving(tmp_path, "--cut-rate", "0.25", "--seed", "1") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        client = s3_client()
        assert {read_object(client, "bins", one.key, one.etag) for one in mine} == {photo(3)}


def test_a_photo_that_is_always_cut_is_not_called_unreadable(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = put("new/1.jpg")
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    with serving(tmp_path, "--cut-rate", "1") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        with pytest.raises(TransferError, match=r"s3://bins/new/1\.jpg: \d+ bytes arrived of"):
            read_object(s3_client(), "bins", one.key, one.etag)
        assert count._look_at([one]) == {}
        [outcome] = count_by_endpoint([one], "counter").values()
    assert outcome.status == "uncounted"


def test_a_photo_without_an_answer_costs_no_other_one_its_count(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = [put(f"new/{number}.jpg") for number in range(40)]
    asked = iter(range(len(mine)))

    def predict(self: ImagePredictor, body: bytes) -> None:
        if next(asked) == 20:
            raise NoAnswerError("endpoint counter did not answer: read timeout")

    monkeypatch.setattr(ImagePredictor, "predict", predict)
    with serving(tmp_path) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        outcomes = list(count_by_endpoint(mine, "counter").values())
    assert sorted(outcome.status for outcome in outcomes) == ["counted"] * 39 + ["uncounted"]
    assert {outcome.reason for outcome in outcomes} == {None, "endpoint counter did not answer: read timeout"}


def test_an_endpoint_that_is_gone_is_not_asked_about_every_photo(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = [put(f"new/{number}.jpg") for number in range(200)]
    asked = []

    def predict(self: ImagePredictor, body: bytes) -> None:
        asked.append(body)
        if len(asked) > 30:
            raise NoAnswerError("endpoint counter did not answer: refused")

    monkeypatch.setattr(ImagePredictor, "predict", predict)
    with serving(tmp_path) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        outcomes = list(count_by_endpoint(mine, "counter").values())
    assert [outcome.status for outcome in outcomes].count("counted") == 30  # and these are kept
    assert GIVE_UP_AFTER <= len(asked) - 30 < GIVE_UP_AFTER + ASKERS
    assert outcomes[-1].status == "uncounted"
    assert "nothing answered 64 times in a row: endpoint counter" in str(outcomes[-1].reason)


def test_where_nothing_answers_an_object_is_worth_another_try(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    one = put("new/1.jpg")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5)
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        client = boto3.client("s3", endpoint_url=address, config=config)
        with pytest.raises(TransferError, match=r"s3://bins/new/1\.jpg: Could not connect"):
            read_object(client, "bins", one.key, one.etag)
        monkeypatch.setattr(count, "s3_client", lambda: client)
        assert count._look_at([one]) == {}  # nobody knows, so the next job tries it


def test_what_may_not_be_read_stays_uncounted_and_costs_no_other_photo(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, secret = put("new/1.jpg"), put("new/2.jpg")
    (tmp_path / ODD).write_text(json.dumps({"new/2.jpg": "forbidden"}))
    monkeypatch.setattr(ImagePredictor, "predict", lambda self, body: None)
    with serving_oddly(tmp_path, tmp_path / "log") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        with pytest.raises(ForbiddenObjectError, match=r"s3://bins/new/2\.jpg"):
            read_object(s3_client(), "bins", secret.key)
        looked = count._look_at([mine, secret])
        asked = count_by_endpoint([mine, secret], "counter")
    assert looked.keys() == {secret.photo}
    assert asked[mine.photo].status == "counted"
    for outcome in (looked[secret.photo], asked[secret.photo]):
        assert outcome.status == "uncounted"
        assert "AccessDenied" in (outcome.reason or "")


def test_a_key_that_s3_does_not_know_ends_the_night(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = put("new/1.jpg")
    (tmp_path / ODD).write_text(json.dumps({"new": "disowned"}))
    with serving_oddly(tmp_path, tmp_path / "log") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        with pytest.raises(SourceError, match="InvalidAccessKeyId") as caught:
            count._look_at([one])
    assert not isinstance(caught.value, ForbiddenObjectError)


def test_metadata_that_may_not_be_read_is_said_for_its_photo_alone(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = [put("new/1.jpg"), put("new/2.jpg"), put("new/3 a.jpg")]
    (tmp_path / "bins/wms").mkdir()
    for name in ("1", "2", "3 a"):
        (tmp_path / f"bins/wms/{name}.json").write_bytes(metadata(4, "P1"))
    (tmp_path / ODD).write_text(json.dumps({"wms/2.json": "forbidden", "wms/3 a.json": "forbidden"}))
    with serving_oddly(tmp_path, tmp_path / "log") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        found, _ = with_record(mine, NightParameters(prefix="s3://bins/new/", record="s3://bins/wms"))
    assert [one.expected for one in found] == [4, None, None]
    assert all("may not be read" in (one.record_problem or "") for one in found[1:])


@pytest.mark.parametrize(("how", "kind"), [("failing", TransferError), ("forbidden", SourceError)])
def test_a_listing_that_fails_is_tried_again_and_one_that_is_refused_is_not(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, kind: type[Exception]
) -> None:
    put("new/1.jpg")
    (tmp_path / ODD).write_text(json.dumps({"": how}))
    with serving_oddly(tmp_path, tmp_path / "log") as endpoint:
        once = boto3.client("s3", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}))
        monkeypatch.setattr(photos, "s3_client", lambda: once)
        monkeypatch.setattr(photos, "check_bucket", lambda uri: None)  # which would be the first to fail
        with pytest.raises(kind, match="cannot be listed"):
            list(photos.list_objects("s3://bins/new/"))


def test_photos_of_a_bucket_in_another_region_are_copied_for_their_jobs_and_have_their_record(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)  # tests that share a cloud leave it
    put("bin-images/1.jpg")
    (tmp_path / "bins/metadata").mkdir()
    (tmp_path / "bins/metadata/1.json").write_bytes(metadata(3))
    with serving(tmp_path, "--region", "eu-central-1") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        listed = list(photos.list_objects("s3://bins/bin-images/"))
        [found], _ = with_record(listed, NightParameters(prefix="s3://bins/bin-images/"))
        [chunk] = _chunks([found], 10, 1)
    assert (chunk.copied, found.expected) == (True, 3)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with serving(tmp_path, "--region", "eu-central-1") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        [near] = photos.list_objects("s3://bins/bin-images/")
    assert near.is_plain
