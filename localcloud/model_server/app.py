"""The web server before a loaded model: `/ping` and `/invocations`, by SageMaker's container contract."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from localcloud.model_server.handlers import Handlers

# TorchServe, which AWS's PyTorch container runs, answers 503 once its job queue of this length is full.
QUEUE_LENGTH = 100


class ModelApp:
    """Serves one model with a bounded number of threads, a bounded queue and bounded request bodies."""

    def __init__(self, handlers: Handlers, threads: int, max_payload: int) -> None:
        """Threads run handlers; `max_payload` is in bytes."""
        self._handlers = handlers
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="handler")
        self._capacity = threads + QUEUE_LENGTH
        self._max_payload = max_payload
        self._in_flight = 0
        routes = [Route("/ping", self.ping), Route("/invocations", self.invocations, methods=["POST"])]
        self.asgi = Starlette(routes=routes)

    async def ping(self, _request: Request) -> Response:
        """200 and an empty body: the server listens only once the model is loaded."""
        return Response()

    async def invocations(self, request: Request) -> Response:
        """Run one request through the model's handlers."""
        try:
            body = await self._read(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return _plain(413, f"the request is larger than {self._max_payload} bytes")
        if self._in_flight >= self._capacity:
            return _plain(503, f"{self._in_flight} requests are waiting already; try again later")
        self._in_flight += 1
        try:
            loop = asyncio.get_running_loop()
            headers = dict(request.headers)
            reply = await loop.run_in_executor(self._executor, self._handlers.answer, body, headers)
        finally:
            self._in_flight -= 1
        headers = {"Content-Type": reply.content_type, **reply.headers}
        return Response(reply.body, reply.status, headers=headers)

    async def _read(self, request: Request) -> bytes | None:
        """The body, or None as soon as it is known to be too large."""
        if int(request.headers.get("content-length") or 0) > self._max_payload:
            return None
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._max_payload:
                return None
            chunks.append(chunk)
        return b"".join(chunks)


def _plain(status: int, message: str) -> Response:
    return Response(message, status, media_type="text/plain")
