"""S3 as the service and its jobs' set-up use it: through the server's own API, by ``s3://`` URI."""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from localcloud.host.keys import Keys

IN_FLIGHT = 32
CHUNK_BYTES = 4 * 1024 * 1024
NOT_FOUND = (NotFoundError, FileNotFoundError)  # obstore raises the one or the other, call by call


class S3Error(Exception):
    """S3 refused, or the object does not exist; the message names the URI."""


class S3NotFoundError(S3Error):
    """There is no such object or bucket."""


class S3TooLargeError(S3Error):
    """The object is larger than the reader takes."""


@dataclass(frozen=True)
class S3Object:
    """One entry of a listing."""

    key: str
    size: int


def split_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/key`` as (bucket, key). Raises S3Error for anything else."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise S3Error(f"{uri!r} is not an S3 URI like s3://bucket/key")
    return bucket, key


def join_uri(prefix: str, *names: str) -> str:
    """Put names under a prefix, with one slash between them."""
    return "/".join([prefix.rstrip("/"), *[name.strip("/") for name in names]])


class S3:
    """A client of the cloud's own S3 server. Safe to share between threads."""

    def __init__(self, endpoint: str, keys: Keys, region: str) -> None:
        self._endpoint = endpoint
        self._keys = keys
        self._region = region
        self._bucket = functools.lru_cache(maxsize=256)(self._open)

    def _open(self, bucket: str) -> S3Store:
        return open_bucket(self._endpoint, self._keys, self._region, bucket)

    def get(self, uri: str, at_most: int | None = None) -> bytes:
        """An object's bytes. Raises S3TooLargeError, before reading it, for one of more than ``at_most``."""
        bucket, key = split_uri(uri)
        try:
            answer = obstore.get(self._bucket(bucket), key)
            if at_most is not None and answer.meta["size"] > at_most:
                raise S3TooLargeError(f"{uri} has {answer.meta['size']} bytes, more than {at_most}")
            return bytes(answer.bytes())
        except NOT_FOUND as error:
            raise S3NotFoundError(f"no object {uri}") from error
        except BaseError as error:
            raise S3Error(f"cannot read {uri}: {_brief(error)}") from error

    def put(self, uri: str, content: bytes | Path) -> None:
        """Store bytes, or a file of any size, as an object. The object appears whole or not at all.

        Raises S3Error, or FileNotFoundError when the file is gone.
        """
        bucket, key = split_uri(uri)
        try:
            obstore.put(self._bucket(bucket), key, content)
        except NOT_FOUND as error:
            if isinstance(content, Path) and not content.exists():
                raise FileNotFoundError(f"there is no file {content}") from error
            raise S3NotFoundError(f"cannot write {uri}: there is no bucket {bucket}") from error
        except BaseError as error:
            raise S3Error(f"cannot write {uri}: {_brief(error)}") from error

    def objects(self, prefix_uri: str) -> list[S3Object]:
        """All objects whose keys begin with a prefix (by character, as S3 does), by key in order."""
        return sorted(self._listed(prefix_uri), key=lambda item: item.key)

    def has_objects(self, prefix_uri: str) -> bool:
        """Whether there is an object, other than a folder's mark, whose key begins with a prefix."""
        return any(not item.key.endswith("/") for item in self._listed(prefix_uri))

    def _listed(self, prefix_uri: str) -> Iterator[S3Object]:
        bucket, prefix = split_uri(prefix_uri)
        store = self._bucket(bucket)
        folder, _, start = prefix.rpartition("/")
        try:
            yield from self._below(store, folder, prefix) if start else _walk(store, folder)
        except (BaseError, FileNotFoundError) as error:
            if isinstance(error, NOT_FOUND) or "NoSuchBucket" in str(error):  # obstore has no error for it in a list
                raise S3NotFoundError(f"no bucket {bucket}") from error
            raise S3Error(f"cannot list {prefix_uri}: {_brief(error)}") from error

    def _below(self, store: S3Store, folder: str, prefix: str) -> Iterator[S3Object]:
        level = obstore.list_with_delimiter(store, folder or None)
        for entry in level["objects"]:
            if entry["path"].startswith(prefix):
                yield S3Object(entry["path"], entry["size"])
        for common in level["common_prefixes"]:
            if common.startswith(prefix):
                yield from _walk(store, common)

    def download(self, bucket: str, targets: dict[str, Path]) -> None:
        """Fetch many objects at once: key to file. Folders are made."""
        self._each(self._fetch, bucket, targets)

    def upload(self, bucket: str, sources: dict[str, Path]) -> None:
        """Store many files at once: key to file."""
        self._each(lambda bucket, key, path: self.put(f"s3://{bucket}/{key}", path), bucket, sources)

    def upload_folder(self, folder: Path, prefix_uri: str) -> int:
        """Store every file below a folder under a prefix; returns how many."""
        bucket, prefix = split_uri(prefix_uri)
        files = {
            str(PurePosixPath(prefix, path.relative_to(folder).as_posix())): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.upload(bucket, files)
        return len(files)

    def _each(self, work: Callable[[str, str, Path], None], bucket: str, files: dict[str, Path]) -> None:
        # Threads, because obstore's asynchronous calls abort an interpreter that ends soon after them.
        with ThreadPoolExecutor(min(IN_FLIGHT, len(files) or 1)) as pool:
            transfers = [pool.submit(work, bucket, key, path) for key, path in files.items()]
            try:
                for transfer in transfers:
                    transfer.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, bucket: str, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                for chunk in obstore.get(self._bucket(bucket), key).stream(min_chunk_size=CHUNK_BYTES):
                    file.write(chunk)
        except NOT_FOUND as error:
            raise S3NotFoundError(f"no object s3://{bucket}/{key}") from error
        except BaseError as error:
            raise S3Error(f"cannot read s3://{bucket}/{key}: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _walk(store: S3Store, folder: str) -> Iterator[S3Object]:
    for page in obstore.list(store, folder or None, chunk_size=1000):
        for entry in page:
            yield S3Object(entry["path"], entry["size"])


def open_bucket(endpoint: str, keys: Keys, region: str, bucket: str) -> S3Store:
    """A client of one bucket of this cloud's S3."""
    return S3Store(
        bucket,
        aws_endpoint_url_s3=endpoint,  # the service-specific option: it alone wins over the environment's variables
        region=region,
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "300s"},
    )


def make_bucket(endpoint: str, keys: Keys, region: str, bucket: str) -> None:
    """Create a bucket; one that exists is as good. Raises S3Error."""
    import httpx
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("PUT", f"{endpoint}/{bucket}", data=b"")
    S3SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), "s3", region).add_auth(request)
    prepared = request.prepare()
    answer = httpx.put(prepared.url, headers=dict(prepared.headers.items()), timeout=30)
    if answer.status_code not in (200, 409):
        raise S3Error(f"cannot create bucket {bucket}: HTTP {answer.status_code} {answer.text[:200]}")
