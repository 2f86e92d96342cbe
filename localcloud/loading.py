"""Puts folders, files and tar archives into a bucket, through the S3 API."""

import lzma
import tarfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from localcloud.errors import LocalCloudError
from localcloud.host.home import State
from localcloud.host.keys import Keys
from localcloud.s3 import S3Error, make_bucket, open_bucket

IN_FLIGHT = 32
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_PIECE = 2**20
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)


def load_bucket(state: State, keys: Keys, bucket: str, paths: list[Path]) -> int:
    """Store everything that the paths hold; returns how many objects.

    A folder's files keep their paths below it, and so do a tar archive's members; a file is stored by its name.
    The bucket is made when it does not exist. An archive that is damaged is refused before anything is stored.
    Raises LocalCloudError.
    """
    for path in paths:
        if not path.exists():
            raise LocalCloudError(f"there is no {path}")
        _check_archive(path)
    try:
        make_bucket(state.s3_endpoint, keys, state.region, bucket)
        return _store_all(open_bucket(state.s3_endpoint, keys, state.region, bucket), paths)
    except S3Error as error:
        raise LocalCloudError(str(error)) from error
    except BaseError as error:
        raise LocalCloudError(f"S3 refused: {error}") from error
    except ValueError as error:  # of obstore's, which has no other for a key
        raise LocalCloudError(f"stopped at a name that is no key; what came before it is stored: {error}") from error
    except _UNREADABLE as error:
        raise LocalCloudError(f"cannot read what is to be loaded: {error}") from error


class _Member(tarfile.TarInfo):
    """A member of an archive. A header that is damaged is an error: tarfile takes it for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if bytes(buf) == bytes(tarfile.BLOCKSIZE):
                raise  # the real end
            raise tarfile.ReadError(f"{error}, where a member or the archive's end should be") from error


def _check_archive(path: Path) -> None:
    """Read a tar archive to its end, and with it the checksum of what it is packed in. Raises LocalCloudError."""
    try:
        if path.is_dir():
            return
        if not tarfile.is_tarfile(path):
            if path.name.endswith(_ARCHIVES):
                raise tarfile.ReadError("it does not begin as a tar archive does")
            return
        with tarfile.open(path, tarinfo=_Member) as archive:
            for _ in archive:
                pass
            while archive.fileobj and archive.fileobj.read(_PIECE):
                pass
    except _UNREADABLE as error:
        raise LocalCloudError(f"cannot read {path} to its end, so nothing was loaded: {error}") from error


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
