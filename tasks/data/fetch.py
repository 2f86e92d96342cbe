"""Many small objects from S3: concurrent, checked, and tried again where that helps."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError, GenericError, JoinError, NotModifiedError, PermissionDeniedError
from obstore.store import ObjectStore
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tasks.object_store import brief
from training.errors import ForbiddenObjectError, SourceError, TransferError

IN_FLIGHT = 64
"""Requests that a chunk has under way at a time."""

LARGEST_OBJECT = 16 * 2**20
"""Objects above this many bytes are not read: no photo of a bin, and no record, is that large."""

_ATTEMPTS = 6
_FAILURES_IN_A_ROW = 2 * IN_FLIGHT
_REFUSED_FIRST = IN_FLIGHT
ABOUT_WHO_ASKS = r"InvalidAccessKeyId|SignatureDoesNotMatch|RequestTimeTooSkewed|AccountProblem|\w+Token"
"""What S3 says with a 403 that is about who asks, not about what is asked for."""
_NOT_WELCOME = re.compile(rf"<Code>({ABOUT_WHO_ASKS})</Code>")
_STATUS = re.compile(r"status code: (4\d\d)")
_MD5 = re.compile(r"[0-9a-f]{32}")

Item = TypeVar("Item")

_last_failure: ContextVar[TransferError | None] = ContextVar("last_failure", default=None)
"""What a worker of ``for_each`` failed with last: its ``work`` says only that it gave up."""


class TooLargeError(Exception):
    """An object is larger than ``LARGEST_OBJECT``."""

    def __init__(self, size: int, etag: str) -> None:
        super().__init__(f"{size} bytes")
        self.size, self.etag = size, etag


@dataclass(frozen=True)
class Fetched:
    """An object's content and ETag (without quotes; empty if the store has none)."""

    body: bytes
    etag: str


@contextlib.contextmanager
def transfer_errors(what: str) -> Iterator[None]:
    """Turn obstore's errors into ours: worth another try, or not. ``FileNotFoundError`` passes through.

    Raises:
        TransferError: the connection broke, the store answered 5xx or the body was cut short.
        ForbiddenObjectError: the store refuses this object (403).
        SourceError: the store refuses.
    """
    try:
        yield
    except NotModifiedError:
        raise
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise SourceError(f"{what}: the bucket does not exist.") from error
        raise
    except (GenericError, JoinError) as error:
        if "NoSuchBucket" in str(error):
            raise SourceError(f"{what}: the bucket does not exist.") from error
        if _is_refusal(error):
            raise SourceError(f"{what}: {brief(error)}") from error
        raise TransferError(f"{what}: {brief(error)}") from error
    except PermissionDeniedError as error:
        kind = SourceError if _NOT_WELCOME.search(str(error)) else ForbiddenObjectError
        raise kind(f"{what}: {brief(error)}") from error
    except BaseError as error:
        raise SourceError(f"{what}: {brief(error)}") from error


def _is_refusal(error: Exception) -> bool:
    """Whether the store answered that the request itself is wrong: 4xx, but for timeouts and throttling."""
    if "redirect without LOCATION" in str(error):  # what a bucket in another region answers
        return True
    status = _STATUS.search(str(error))
    return status is not None and status.group(1) not in ("408", "429")


class Digests:
    """Whether the ETags of one store are MD5s, as far as its objects have shown.

    An ETag of 32 hex digits is the MD5 of what was put, but not where S3 encrypts with a key of KMS.
    Nothing that S3 says tells the two apart, but a body that comes twice alike was not damaged on its way.
    """

    def __init__(self) -> None:
        self._some_are = self._some_are_not = False

    def vouch_for(self, found: Fetched, before: Fetched | None) -> bool:
        """Whether ``found`` may be taken for what lies there.

        Args:
            found: What arrived, of the announced size.
            before: What the try before brought, if there was one that was not believed.
        """
        if not _MD5.fullmatch(found.etag):
            return True
        if hashlib.md5(found.body, usedforsecurity=False).hexdigest() == found.etag:
            self._some_are = True
            return True
        if found == before:
            self._some_are_not = True
            return True
        # Where all are encrypted each would be fetched twice; where some are not, it may be damage to one of those.
        return self._some_are_not and not self._some_are


@dataclass
class _Wanted:
    """What is fetched, in as many tries as it takes; ``doubted`` is what the last one brought in vain."""

    store: ObjectStore
    key: str
    unless_etag: str | None
    digests: Digests
    doubted: Fetched | None = None


async def fetch(
    store: ObjectStore, key: str, unless_etag: str | None = None, digests: Digests | None = None
) -> Fetched:
    """Fetch one object whole: its size must be the announced one, and its MD5 the ETag where that is one.

    Args:
        store: Where from.
        key: Which.
        unless_etag: Don't fetch it if its ETag is still this one.
        digests: What is known of the store's ETags, and is added to; nothing by default.

    Raises:
        FileNotFoundError: there is no such object.
        obstore.exceptions.NotModifiedError: its ETag is ``unless_etag``.
        TooLargeError: it is too large to be what we look for.
        TransferError: it could not be fetched whole in six attempts.
        ForbiddenObjectError: it may not be read.
        SourceError: the store refuses.
    """
    wanted = _Wanted(store, key, unless_etag, digests or Digests())
    try:
        return await _fetch_once(wanted)
    except TransferError:
        return await fetch_again(wanted)


async def _fetch_once(wanted: _Wanted) -> Fetched:
    key, unless_etag = wanted.key, wanted.unless_etag
    with transfer_errors(key):
        options: Any = {"if_none_match": f'"{unless_etag}"'} if unless_etag else None
        found = await obstore.get_async(wanted.store, key, options=options)
        size, etag = found.meta["size"], (found.meta["e_tag"] or "").strip('"')
        if size > LARGEST_OBJECT:
            raise TooLargeError(size, etag)
        body = (await found.bytes_async()).to_bytes()
    if len(body) != size:
        raise TransferError(f"{key}: {len(body)} bytes arrived of {size}.")
    fetched, before = Fetched(body, etag), wanted.doubted
    if not wanted.digests.vouch_for(fetched, before):
        wanted.doubted = fetched
        raise TransferError(f"{key}: what arrived doesn't have the MD5 {etag} that was announced.")
    return fetched


fetch_again = retry(
    retry=retry_if_exception_type(TransferError),
    stop=stop_after_attempt(_ATTEMPTS - 1),
    wait=wait_random_exponential(multiplier=0.1, max=5),
    reraise=True,
)(_fetch_once)
"""``_fetch_once``, tried again with growing, random pauses; kept out of the way of what succeeds at once."""


class Reader:
    """Fetches from one store, and tells an object that may not be read from having no access at all.

    It remembers whether the store's ETags are MD5s.

    Args:
        store: Where from.
        trusted: Whether something of it is known to have been readable; then any number of objects may be forbidden.
    """

    def __init__(self, store: ObjectStore, *, trusted: bool) -> None:
        self._store, self._trusted, self._refused = store, trusted, 0
        self._digests = Digests()

    async def fetch(self, key: str, unless_etag: str | None = None) -> Fetched:
        """Fetch one object, as `fetch` does.

        Raises:
            SourceError: the first objects that were asked for, sixty-four of them, are all forbidden.
        """
        try:
            found = await fetch(self._store, key, unless_etag, self._digests)
        except ForbiddenObjectError as error:
            self._refused += 1
            if not self._trusted and self._refused >= _REFUSED_FIRST:
                raise SourceError(
                    f"The first {self._refused} objects that were asked for are forbidden: {error}"
                ) from error
            raise
        except (FileNotFoundError, NotModifiedError, TooLargeError):
            self._trusted = True
            raise
        except TransferError as error:
            _last_failure.set(error)
            raise
        self._trusted = True
        return found


async def for_each(items: Iterable[Item], work: Callable[[Item], Awaitable[bool]], in_flight: int = IN_FLIGHT) -> int:
    """Do ``work`` on every item, at most ``in_flight`` at a time; items are drawn as they are needed.

    ``work`` returns False when it gave up on an item for a reason that may pass. One such item is no reason to
    stop; a long row of them is, since then the store itself is out of reach.

    Returns:
        How many items were given up.

    Raises:
        TransferError: so many in a row were given up that going on makes no sense.
    """
    source = iter(items)
    given_up = in_a_row = 0

    async def worker() -> None:
        nonlocal given_up, in_a_row
        for item in source:
            if await work(item):
                in_a_row = 0
                continue
            given_up += 1
            in_a_row += 1
            if in_a_row >= _FAILURES_IN_A_ROW:
                why = _last_failure.get()
                raise TransferError(
                    f"{in_a_row} transfers in a row failed, so no more are tried. The last: {why}"
                ) from why

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())
    except BaseExceptionGroup as errors:  # one worker's failure ended them all
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
    return given_up


async def listing(store: ObjectStore, prefix: str) -> AsyncIterator[list[Any]]:
    """List a prefix in pages of 1,000."""
    with transfer_errors(f"listing {prefix}"):
        async for page in obstore.list(store, prefix, chunk_size=1000):
            yield list(page)
