"""Which photos are copied for their job, and what is said of those that cannot be."""

import datetime as dt
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.nightly import copies
from tasks.nightly.copies import copy_name, copy_photos
from tasks.nightly.photos import NightPhoto
from tasks.settings import Settings
from training.errors import SourceError, TransferError


def photo(key: str) -> NightPhoto:
    return NightPhoto(
        photo=f"of {key}"[:32], bucket="bins", key=key, etag="e1", bytes=1, taken_at=dt.datetime.now(dt.UTC)
    )


@pytest.mark.parametrize(("length", "plain"), [(900, True), (901, False), (1024, False)])
def test_a_key_that_leaves_no_room_for_the_answer_s_name_is_not_plain(length: int, plain: bool) -> None:
    assert photo(f"{'x' * (length - 4)}.jpg").is_plain is plain


class Refusing:
    """S3 that refuses to copy as a key says; the embedded one neither knows tags nor heeds conditions."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def copy_object(self, **asked: Any) -> None:
        self.asked.append(asked)
        code, _, status = asked["CopySource"]["Key"].partition(" ")
        if status:
            told: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": int(status)}}
            raise ClientError(told, "CopyObject")


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    client = Refusing()
    monkeypatch.setattr(copies, "s3_client", lambda: client)
    return client


def test_a_photo_is_copied_as_it_was_listed_without_its_tags(refusing: Refusing) -> None:
    one = photo("fine")
    assert copy_photos([one], "run", Settings()) == {}
    [asked] = refusing.asked
    assert (asked["CopySourceIfMatch"], asked["TaggingDirective"]) == ('"e1"', "REPLACE")
    assert asked["Key"] == f"nightly/run/copies/{copy_name(one)}"


def test_what_cannot_be_copied_is_said_and_costs_no_other_photo(refusing: Refusing) -> None:
    mine = [photo(key) for key in ("fine", "AccessDenied 403", "PreconditionFailed 412", "NoSuchKey 404")]
    found = copy_photos(mine, "run", Settings())
    assert len(refusing.asked) == 4
    assert {photo: outcome.status for photo, outcome in found.items()} == {
        mine[1].photo: "uncounted",
        mine[2].photo: "unreadable",
        mine[3].photo: "unreadable",
    }
    assert "cannot be copied for a job: s3://bins/AccessDenied 403" in str(found[mine[1].photo].reason)
    assert found[mine[2].photo].reason == "the object is gone, or was replaced"


@pytest.mark.parametrize(("how", "kind"), [("SlowDown 503", TransferError), ("InvalidAccessKeyId 403", SourceError)])
def test_what_is_about_all_photos_ends_the_copying(refusing: Refusing, how: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        copy_photos([photo(how)], "run", Settings())
