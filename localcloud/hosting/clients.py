"""Keep-alive HTTP connections to a model server."""

from __future__ import annotations

import asyncio
import logging

import httpx

INVOCATION_SECONDS = 60.0  # the limit that botocore's model of InvokeEndpoint documents
CONNECT_SECONDS = 5.0
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs a line for every request


class Clients:
    """Clients with one connection each, the last used one first.

    One client with many connections would do, but it looks at every connection for every request: with 16
    callers that costs more than the requests themselves. Used on the service's event loop only.
    """

    def __init__(self) -> None:
        self._idle: list[httpx.AsyncClient] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def post(self, url: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
        """Send a request on a connection that nobody else uses. Raises httpx's errors."""
        self._loop = asyncio.get_running_loop()
        client = self._idle.pop() if self._idle else _client()
        try:
            return await client.post(url, content=content, headers=headers)
        finally:
            if self._closed:
                await client.aclose()
            else:
                self._idle.append(client)

    def close(self) -> None:
        """Close the connections, from any thread, without waiting."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop)

    async def _close(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None),
        timeout=httpx.Timeout(INVOCATION_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,  # a proxy in the environment is not for loopback
        verify=False,  # noqa: S501 - plain HTTP; without it each client would load the certificates first
    )
