"""A proxy before an S3 server under which uploads suffer: refused, cut short, or done but never confirmed."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

FAULTS = ("refused", "cut", "unconfirmed")


class FaultyProxy:
    """Passes requests on; a PUT meets one of ``FAULTS`` at ``rate``. ``suffered`` counts them."""

    def __init__(self, target: str, rate: float) -> None:
        address = urlsplit(target)
        self.host, self.port = str(address.hostname), int(address.port or 80)
        self.rate = rate
        self.suffered: Counter[str] = Counter()
        self._chance = random.Random(7)

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        server, request = await asyncio.open_connection(self.host, self.port)
        try:
            while await self._exchange(client, answer, server, request):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            request.close()
            answer.close()

    async def _exchange(
        self,
        client: asyncio.StreamReader,
        answer: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        request: asyncio.StreamWriter,
    ) -> bool:
        """Pass one request on and its answer back; returns whether the connection stays open."""
        head = await client.readuntil(b"\r\n\r\n")
        fault = ""
        if head.startswith(b"PUT ") and self._chance.random() < self.rate:
            fault = self._chance.choice(FAULTS)
            self.suffered[fault] += 1
        length = _length(head)
        if fault == "cut":
            await client.readexactly(length // 2)
            return False
        body = await client.readexactly(length)
        if fault == "refused":
            answer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")
            await answer.drain()
            return True
        request.write(head + body)
        reply = await server.readuntil(b"\r\n\r\n")
        if b"chunked" in reply.lower():
            reply += await server.readuntil(b"0\r\n\r\n")
        elif not head.startswith(b"HEAD "):
            reply += await server.readexactly(_length(reply))
        if fault == "unconfirmed":
            return False
        answer.write(reply)
        await answer.drain()
        return True


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


@contextmanager
def faulty_uploads(target: str, rate: float) -> Iterator[tuple[str, FaultyProxy]]:
    """Stand before the S3 server at ``target``; yields the address to use instead, and the proxy."""
    proxy = FaultyProxy(target, rate)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(proxy.serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", proxy
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        server.close()
        loop.close()
