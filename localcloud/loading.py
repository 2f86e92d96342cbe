"""Puts folders, files and tar archives into a bucket, through the S3 API."""

import tarfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from localcloud.errors import LocalCloudError
from localcloud.host.home import State
from localcloud.host.keys import Keys
from localcloud.s3 import make_bucket, open_bucket

IN_FLIGHT = 32


def load_bucket(state: State, keys: Keys, bucket: str, paths: list[Path]) -> int:
    """Store everything that the paths hold; returns how many objects.

    A folder's files keep their paths below it, and so do a tar archive's members; a file is stored by its name.
    The bucket is made when it does not exist. Raises LocalCloudError.
    """
    for path in paths:
        if not path.exists():
            raise LocalCloudError(f"there is no {path}")
    make_bucket(state.s3_endpoint, keys, state.region, bucket)
    store = open_bucket(state.s3_endpoint, keys, state.region, bucket)
    try:
        return _store_all(store, paths)
    except BaseError as error:
        raise LocalCloudError(f"S3 refused: {error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise LocalCloudError(f"cannot read the archive: {error}") from error


def _store_all(store: S3Store, paths: list[Path]) -> int:
    # Threads, because obstore's asynchronous calls abort an interpreter that ends soon after them.
    count = 0
    waiting: deque[Future[object]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for path in paths:
            for key, content in _of(path):
                waiting.append(pool.submit(obstore.put, store, key, content))
                count += 1
                if len(waiting) > 2 * IN_FLIGHT:
                    waiting.popleft().result()
        for stored in waiting:
            stored.result()
    return count


def _of(path: Path) -> Iterator[tuple[str, bytes | Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.relative_to(path).as_posix(), file
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name.removeprefix("./"), content.read()
    else:
        yield path.name, path
