"""Opening stores: where they point, and what is said when they can't be opened."""

from pathlib import Path

import obstore
import pytest

from tasks.object_store import check_bucket, ensure_bucket, is_unsigned, open_store, split_uri
from training.errors import CloudError, SourceError


def test_uris_are_taken_apart() -> None:
    assert split_uri("s3://bucket/a/b/") == ("bucket", "a/b")
    assert split_uri("s3://bucket") == ("bucket", "")
    for wrong in ("bucket/key", "https://bucket/key", "s3:///key", "s3://b/k?versionId=1"):
        with pytest.raises(SourceError, match="is not an S3 URI"):
            split_uri(wrong)


def test_a_prefix_is_where_keys_start(s3: Path) -> None:
    ensure_bucket("s3://stores")
    obstore.put(open_store("s3://stores/data/sets"), "one.txt", b"1")
    assert (s3 / "stores/data/sets/one.txt").read_bytes() == b"1"


def test_a_bucket_is_made_once(s3: Path) -> None:
    ensure_bucket("s3://fresh-bucket")
    ensure_bucket("s3://fresh-bucket/prefix")
    check_bucket("s3://fresh-bucket")
    assert (s3 / "fresh-bucket").is_dir()


def test_a_missing_bucket_is_named_with_where_it_was_looked_for(s3: Path) -> None:
    with pytest.raises(SourceError, match=r"There is no bucket 'nowhere' at http://127"):
        check_bucket("s3://nowhere")


def test_wrong_keys_are_said_to_be_wrong(s3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_bucket("s3://fresh-bucket")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SourceError, match="may not be read"):
        check_bucket("s3://fresh-bucket")


def test_nobody_at_the_endpoint(s3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(CloudError, match=r"S3 at http://127\.0\.0\.1:9 cannot be reached"):
        check_bucket("s3://any")


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)


@pytest.mark.usefixtures("s3", "no_credentials")
def test_no_credentials_are_said_to_be_missing_and_how_to_get_some() -> None:
    for call in (open_store, check_bucket, ensure_bucket):
        with pytest.raises(CloudError, match=r"No AWS credentials were found\. Log in"):
            call("s3://any")


def test_only_the_public_bucket_at_aws_itself_goes_unsigned() -> None:
    assert is_unsigned("aft-vbi-pds", None)
    assert is_unsigned("aft-vbi-pds", "https://s3.us-east-1.amazonaws.com")
    assert not is_unsigned("aft-vbi-pds", "http://127.0.0.1:9000")
    assert not is_unsigned("aft-vbi-pds", "https://evil-amazonaws.com")
    assert not is_unsigned("mine", None)
