"""Sends a transform job's objects to its model servers and collects the outputs on disk."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import httpx

from localcloud.model_server_launch import LOOPBACK, ModelServer
from localcloud.s3 import S3, S3Error
from localcloud.store import Document
from localcloud.transform_filters import FilterError
from localcloud.transform_inputs import InputObject
from localcloud.transform_join import Join, join_of
from localcloud.transform_records import MEBIBYTE, PayloadTooLargeError, assemble, line_payloads

CHECK_SECONDS = 0.2
MAX_STREAMED_BYTES = 1024 * MEBIBYTE  # what a server takes when MaxPayloadInMB is 0, which means no limit
NO_RESPONSE = "Unable to get response from algorithm"
_BACKOFF_SECONDS = 0.1


@dataclass(frozen=True)
class Failure:
    """Why an object could not be transformed."""

    item: InputObject
    category: str
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Settings:
    """What a CreateTransformJob request asks for, with AWS's defaults."""

    concurrent: int
    max_payload_mb: int
    multi_record: bool
    by_line: bool
    gzip: bool
    newline: bool
    retries: int
    timeout: float
    headers: dict[str, str]
    join: Join
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Document) -> Settings:
        """The settings of a job document."""
        source, target, client = job["TransformInput"], job["TransformOutput"], job.get("ModelClientConfig", {})
        headers = {"content-type": source.get("ContentType"), "accept": target.get("Accept")}
        return cls(
            concurrent=job.get("MaxConcurrentTransforms") or 1,
            max_payload_mb=job.get("MaxPayloadInMB", 6),
            multi_record=job.get("BatchStrategy", "MultiRecord") == "MultiRecord",
            by_line=source["SplitType"] == "Line",
            gzip=source["CompressionType"] == "Gzip",
            newline=target["AssembleWith"] == "Line",
            retries=client.get("InvocationsMaxRetries", 3),
            timeout=client.get("InvocationsTimeoutInSeconds", 600),
            headers={name: value for name, value in headers.items() if value},
            join=join_of(job),
            environment=_environment(job),
        )

    @property
    def limit(self) -> int:
        """The largest payload in bytes; 0 for no limit."""
        return self.max_payload_mb * MEBIBYTE

    @property
    def server_payload(self) -> int:
        """The largest request that the model server has to take, in bytes."""
        return self.limit or MAX_STREAMED_BYTES


def _environment(job: Document) -> dict[str, str]:
    """What AWS sets in the container; the last three only when the request names them."""
    environment = {"SAGEMAKER_BATCH": "true"}
    if "MaxPayloadInMB" in job:
        environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(job["MaxPayloadInMB"])
    if "BatchStrategy" in job:
        multi = job["BatchStrategy"] == "MultiRecord"
        environment["SAGEMAKER_BATCH_STRATEGY"] = "MULTI_RECORD" if multi else "SINGLE_RECORD"
    if "MaxConcurrentTransforms" in job:
        environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(job["MaxConcurrentTransforms"])
    return {**environment, **job.get("Environment", {})}


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
        waiting = iter(inputs)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        timeout = httpx.Timeout(self._settings.timeout, connect=5.0)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:
            lanes = [
                asyncio.create_task(self._lane(_Instance(client, server, gate), waiting))
                for server in self._servers
                for gate in [asyncio.Semaphore(self._settings.concurrent)]
                for _ in range(self._settings.concurrent)
            ]
            try:
                await self._watch(lanes)
            finally:
                for lane in lanes:
                    lane.cancel()
                await asyncio.gather(*lanes, return_exceptions=True)

    async def _watch(self, lanes: list[asyncio.Task[None]]) -> None:
        left: set[asyncio.Task[None]] = set(lanes)
        while left:
            done, left = await asyncio.wait(left, timeout=CHECK_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            for lane in done:
                lane.result()
            await asyncio.to_thread(self._check)

    async def _lane(self, instance: _Instance, waiting: Iterator[InputObject]) -> None:
        for item in waiting:
            try:
                await self._transform_object(instance, item)
            except InvocationError as error:
                self._failures.append(Failure(item, error.category, error.reason, error.message))
            except (PayloadTooLargeError, FilterError, S3Error, gzip.BadGzipFile, EOFError) as error:
                self._failures.append(Failure(item, "ClientError", str(error)))

    async def _transform_object(self, instance: _Instance, item: InputObject) -> None:
        """Keeps up to `concurrent` payloads of the object in flight and writes the answers in their order."""
        content = await asyncio.to_thread(self._open, item)
        target = self._outputs / item.output
        target.parent.mkdir(parents=True, exist_ok=True)
        window: deque[asyncio.Task[bytes]] = deque()
        with content, target.open("wb") as output:
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
        """The object's content in a file without a name, unpacked where it is compressed."""
        path = self._outputs.parent / f"input-{uuid.uuid4().hex}"
        try:
            self._s3.download(item.bucket, {item.key: path})
            file = path.open("rb")
        except* S3Error as errors:
            raise errors.exceptions[0] from None
        finally:
            path.unlink(missing_ok=True)
        return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if self._settings.gzip else file

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
