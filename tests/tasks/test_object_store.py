"""Opening stores: where they point, and what is said when they can't be opened."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest

from tasks.object_store import check_bucket, ensure_bucket, is_unsigned, open_store, split_uri
from tasks.transient import is_transient
from training.errors import CloudError, SettingsError, SourceError


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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore try again without its pauses."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


@pytest.mark.parametrize("endpoint", ["http://minio.lan:9000", "http://10.0.0.7:9000", "minio.lan:9000"])
def test_a_plain_http_endpoint_elsewhere_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    calls: list[Callable[..., object]] = [open_store, check_bucket]
    for call in calls:
        with pytest.raises(SettingsError, match=f"The S3 endpoint {endpoint} is not used: .* https://"):
            call("s3://any", endpoint=endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    for call in (*calls, ensure_bucket):
        with pytest.raises(SettingsError, match="is not used"):
            call("s3://any")


BOTH = pytest.mark.parametrize("call", [check_bucket, ensure_bucket])


@BOTH
@pytest.mark.usefixtures("s3", "impatient")
def test_nobody_at_the_endpoint_is_worth_another_try(
    call: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(CloudError, match=r"S3 at http://127\.0\.0\.1:9 cannot be reached") as caught:
        call("s3://any")
    assert is_transient(caught.value)


@pytest.fixture
def answers(s3: Path, impatient: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """A server in the place of S3; yields the status that it answers with, by method."""
    statuses: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(statuses[self.command])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_HEAD

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        try:
            yield statuses
        finally:
            server.shutdown()
            thread.join()


@BOTH
@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failing_s3_is_worth_another_try(answers: dict[str, int], call: Callable[[str], None], status: int) -> None:
    answers["HEAD"] = status
    with pytest.raises(CloudError, match=rf"bucket 'any'.*\({status}\)") as caught:
        call("s3://any")
    assert is_transient(caught.value)


@pytest.mark.parametrize(("status", "passes"), [(503, True), (403, False)])
def test_a_bucket_that_cannot_be_made_is_tried_again_only_where_s3_failed(
    answers: dict[str, int], status: int, passes: bool
) -> None:
    answers |= {"HEAD": 404, "PUT": status}
    with pytest.raises(CloudError, match=r"The bucket 'any' at http://127.* cannot be created") as caught:
        ensure_bucket("s3://any")
    assert is_transient(caught.value) is passes


def test_a_bucket_of_somebody_else_is_not_tried_again(answers: dict[str, int]) -> None:
    answers["HEAD"] = 403
    with pytest.raises(CloudError, match=r"The bucket 'any' at http://127.* cannot be used") as caught:
        ensure_bucket("s3://any")
    assert not is_transient(caught.value)


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


@pytest.mark.usefixtures("no_credentials")
def test_the_public_bucket_is_opened_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    assert open_store("s3://aft-vbi-pds").config["skip_signature"]
    with pytest.raises(CloudError, match="No AWS credentials"):
        open_store("s3://any")


def test_only_the_public_bucket_at_aws_itself_goes_unsigned() -> None:
    assert is_unsigned("aft-vbi-pds", None)
    assert is_unsigned("aft-vbi-pds", "https://s3.us-east-1.amazonaws.com")
    assert not is_unsigned("aft-vbi-pds", "http://127.0.0.1:9000")
    assert not is_unsigned("aft-vbi-pds", "https://evil-amazonaws.com")
    assert not is_unsigned("mine", None)
