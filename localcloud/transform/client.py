"""Sends a transform job's objects to its model servers and collects the outputs on disk."""

from __future__ import annotations

import asyncio
import gzip
import io
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import httpx

from localcloud.model_server.launch import LOOPBACK, ModelServer
from localcloud.s3 import S3, S3Error, S3TooLargeError
from localcloud.transform.filters import FilterError
from localcloud.transform.inputs import InputObject
from localcloud.transform.records import MEBIBYTE, PayloadTooLargeError, assemble, line_payloads
from localcloud.transform.settings import Settings

CHECK_SECONDS = 0.2
MAX_FETCHERS = 4  # objects that are read from S3 at a time
MAX_IN_MEMORY = 4 * MEBIBYTE  # larger objects wait on disk
NO_RESPONSE = "Unable to get response from algorithm"
_BACKOFF_SECONDS = 0.1


Fetched = tuple[InputObject, BinaryIO]


@dataclass(frozen=True)
class Failure:
    """Why an object could not be transformed."""

    item: InputObject
    category: str
    reason: str
    message: str = ""


class InvocationError(Exception):
    """A payload that the model did not transform, after all retries."""

    def __init__(self, category: str, reason: str, message: str = "") -> None:
        super().__init__(reason)
        self.category = category
        self.reason = reason
        self.message = message


class TransformClient:
    """Transforms objects with a number of model servers, each asked by `concurrent` requests at a time."""

    def __init__(
        self, s3: S3, settings: Settings, servers: list[ModelServer], outputs: Path, check: Callable[[], None]
    ) -> None:
        """`check` is called every now and then, and raises when the job must not go on."""
        self._s3 = s3
        self._settings = settings
        self._servers = servers
        self._outputs = outputs
        self._check = check
        self._failures: list[Failure] = []

    def transform(self, inputs: list[InputObject]) -> list[Failure]:
        """Transform all objects into files below `outputs`; returns those that failed, in order of the input."""
        asyncio.run(self._transform(inputs))
        order = {item: position for position, item in enumerate(inputs)}
        return sorted(self._failures, key=lambda failure: order[failure.item])

    async def _transform(self, inputs: list[InputObject]) -> None:
        """Some tasks fetch objects ahead; each instance has `concurrent` lanes that transform what was fetched."""
        waiting = iter(inputs)
        gates = [(server, asyncio.Semaphore(self._settings.concurrent)) for server in self._servers]
        lanes = len(gates) * self._settings.concurrent
        fetched: asyncio.Queue[Fetched | None] = asyncio.Queue(maxsize=lanes)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        timeout = httpx.Timeout(self._settings.timeout, connect=5.0)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:
            fetchers = [asyncio.create_task(self._fetch(waiting, fetched)) for _ in range(min(lanes, MAX_FETCHERS))]
            tasks = [
                *fetchers,
                asyncio.create_task(self._announce_end(fetchers, fetched, lanes)),
                *(
                    asyncio.create_task(self._lane(_Instance(client, server, gate), fetched))
                    for server, gate in gates
                    for _ in range(self._settings.concurrent)
                ),
            ]
            try:
                await self._watch(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, tasks: list[asyncio.Task[None]]) -> None:
        left: set[asyncio.Task[None]] = set(tasks)
        while left:
            done, left = await asyncio.wait(left, timeout=CHECK_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            await asyncio.to_thread(self._check)

    async def _fetch(self, waiting: Iterator[InputObject], fetched: asyncio.Queue[Fetched | None]) -> None:
        for item in waiting:
            try:
                content = await asyncio.to_thread(self._open, item)
            except S3Error as error:
                self._failures.append(Failure(item, "ClientError", str(error)))
                continue
            await fetched.put((item, content))

    async def _announce_end(
        self, fetchers: list[asyncio.Task[None]], fetched: asyncio.Queue[Fetched | None], lanes: int
    ) -> None:
        await asyncio.gather(*fetchers)
        for _ in range(lanes):
            await fetched.put(None)

    async def _lane(self, instance: _Instance, fetched: asyncio.Queue[Fetched | None]) -> None:
        while (found := await fetched.get()) is not None:
            item, content = found
            try:
                with content:
                    await self._transform_object(instance, item, content)
            except InvocationError as error:
                self._failures.append(Failure(item, error.category, error.reason, error.message))
            except (PayloadTooLargeError, FilterError, gzip.BadGzipFile, EOFError, zlib.error) as error:
                self._failures.append(Failure(item, "ClientError", str(error)))

    async def _transform_object(self, instance: _Instance, item: InputObject, content: BinaryIO) -> None:
        """Keeps up to `concurrent` payloads of the object in flight and writes the answers in their order."""
        target = self._outputs / item.output
        target.parent.mkdir(parents=True, exist_ok=True)
        window: deque[asyncio.Task[bytes]] = deque()
        with target.open("wb") as output:
            try:
                for payload in self._payloads(content):
                    window.append(asyncio.create_task(self._answer(instance, payload)))
                    if len(window) >= self._settings.concurrent:
                        output.write(await window.popleft())
                while window:
                    output.write(await window.popleft())
            finally:
                for task in window:
                    task.cancel()
                await asyncio.gather(*window, return_exceptions=True)

    def _open(self, item: InputObject) -> BinaryIO:
        """The object's content, unpacked where it is compressed."""
        file: BinaryIO
        try:
            file = io.BytesIO(self._s3.get(item.uri, at_most=MAX_IN_MEMORY))
        except S3TooLargeError:
            file = self._open_on_disk(item)
        return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if self._settings.gzip else file

    def _open_on_disk(self, item: InputObject) -> BinaryIO:
        """A large object's content in a file without a name."""
        path = self._outputs.parent / f"input-{uuid.uuid4().hex}"
        try:
            self._s3.download(item.bucket, {item.key: path})
            return path.open("rb")
        except* S3Error as errors:
            raise errors.exceptions[0] from None
        finally:
            path.unlink(missing_ok=True)

    def _payloads(self, content: BinaryIO) -> Iterator[bytes]:
        limit = self._settings.limit
        if self._settings.by_line:
            return line_payloads(content, multi_record=self._settings.multi_record, limit=limit)
        whole = content.read(limit + 1) if limit else content.read()
        if limit and len(whole) > limit:
            raise PayloadTooLargeError(limit)
        return iter([whole])

    async def _answer(self, instance: _Instance, payload: bytes) -> bytes:
        join = self._settings.join
        if join.does_nothing:
            answer = await self._ask(instance, payload)
        else:
            answer = join.output(payload, await self._ask(instance, join.request(payload)))
        return assemble(answer, with_newline=self._settings.newline)

    async def _ask(self, instance: _Instance, payload: bytes) -> bytes:
        """Ask the model; what may pass (no answer, a timeout, 429, 5xx) is tried again as often as allowed."""
        attempt = 0
        while True:
            try:
                async with instance.gate:
                    return await instance.post(payload, self._settings.headers)
            except InvocationError as error:
                hopeless = error.category == "ClientError" or instance.server.port is None
                if hopeless or attempt >= self._settings.retries:
                    raise
            await asyncio.sleep(_BACKOFF_SECONDS * 2**attempt)
            attempt += 1


@dataclass(frozen=True)
class _Instance:
    client: httpx.AsyncClient
    server: ModelServer
    gate: asyncio.Semaphore

    async def post(self, payload: bytes, headers: dict[str, str]) -> bytes:
        """One invocation. Raises InvocationError, worded as AWS's logs are."""
        port = self.server.port
        if port is None:
            raise InvocationError("AlgorithmError", NO_RESPONSE, "the model server has ended")
        url = f"http://{LOOPBACK}:{port}/invocations"
        try:
            response = await self.client.post(url, content=payload, headers=headers)
        except httpx.TimeoutException:
            raise InvocationError("AlgorithmError", "Model container failed to respond in time") from None
        except httpx.TransportError as error:
            raise InvocationError("AlgorithmError", NO_RESPONSE, str(error)) from None
        if response.status_code == 200:
            return response.content
        if 400 <= response.status_code < 500 and response.status_code != 429:
            raise InvocationError("ClientError", f"ClientError: {response.status_code}", response.text)
        reason = f"Bad HTTP status received from algorithm: {response.status_code}"
        raise InvocationError("AlgorithmError", reason, response.text)
