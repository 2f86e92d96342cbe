"""A faulty network in front of S3, which remembers: ``s3_proxy.py PORT UPSTREAM_PORT FAULTS_FILE JOURNAL``.

The faults file says ``latency_ms``, added to every request, ``cut``, how many of the next GETs end in the middle of
their body, and ``fail_percent``, the share of requests that are answered with 503 SlowDown. Requests are written into
the journal. Each file may be absent. Standard library only, so that it starts quickly.
"""

import asyncio
import contextlib
import json
import random
import re
import sys
from pathlib import Path

CHUNK = 256 * 1024
_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) ([^ ?]+)\??([^ ]*) HTTP/1\.[01]\r\n")
_AGENT = re.compile(rb"\r\nuser-agent: *([^\r]*)", re.IGNORECASE)
CONTINUE = b"HTTP/1.1 100 "
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>An error that `faults s3-fail` asked for</Message></Error>"
REFUSAL = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Proxy:
    """Passes connections on to rclone, with the faults that are left."""

    def __init__(self, upstream_port: int, latency: float, cut: int, failing: float, journal: Path) -> None:
        self.upstream_port = upstream_port
        self.latency = latency
        self.cut = cut
        self.failing = failing
        self.chance = random.Random(0)  # noqa: S311 - repeatable
        self._journal = journal

    def remember(self, chunk: bytes) -> None:
        """Write a request into the journal, if there is one and a request begins here."""
        found = _REQUEST.match(chunk)
        if found is None or not self._journal.exists():
            return
        method, path, query = (part.decode("ascii", "replace") for part in found.groups())
        agent = _AGENT.search(chunk)
        line = {"service": "s3", "method": method, "path": path, "query": query}
        with self._journal.open("a") as file:
            file.write(json.dumps(line | {"agent": agent[1].decode("ascii", "replace") if agent else ""}) + "\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            writer.close()
            return
        await Connection(self, (reader, writer), upstream).run()


class Connection:
    """One client's connection. Without pipelining, bytes after an answer begin the next request."""

    def __init__(
        self,
        proxy: Proxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.proxy = proxy
        self.client_reader, self.client_writer = client
        self.upstream_reader, self.upstream_writer = upstream
        self.answered = True
        self.cutting = False

    async def run(self) -> None:
        """Pump both ways until one ends."""
        pumps = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._answers())]
        with contextlib.suppress(OSError):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for writer in (self.client_writer, self.upstream_writer):
            writer.close()

    async def _requests(self) -> None:
        while chunk := await self.client_reader.read(CHUNK):
            if self.answered:
                self.answered = False
                self.cutting = chunk.startswith(b"GET ")
                self.proxy.remember(chunk)
                await asyncio.sleep(self.proxy.latency)
                if self.proxy.chance.random() < self.proxy.failing:
                    await self._refuse(chunk)
                    return
            self.upstream_writer.write(chunk)
            await self.upstream_writer.drain()

    async def _refuse(self, chunk: bytes) -> None:
        """Take the whole request, so that the client hears the answer, and refuse it."""
        while b"\r\n\r\n" not in chunk and (more := await self.client_reader.read(CHUNK)):
            chunk += more
        head, _, body = chunk.partition(b"\r\n\r\n")
        length, taken = _LENGTH.search(head), len(body)
        waits = b"100-continue" in head.lower()  # such a client sends no body before it hears from us
        while length and not waits and taken < int(length[1]) and (more := await self.client_reader.read(CHUNK)):
            taken += len(more)
        self.client_writer.write(REFUSAL % len(SLOW_DOWN) + (b"" if head.startswith(b"HEAD ") else SLOW_DOWN))
        await self.client_writer.drain()

    async def _answers(self) -> None:
        while chunk := await self.upstream_reader.read(CHUNK):
            if not self.answered and self.cutting and self.proxy.cut > 0 and await self._cut(chunk):
                return
            self.answered = self.answered or not chunk.startswith(CONTINUE)  # after which the request's body comes
            self.client_writer.write(chunk)
            await self.client_writer.drain()

    async def _cut(self, chunk: bytes) -> bool:
        """Send the head and half of the body, and drop the connection; False when there is no body to cut."""
        while b"\r\n\r\n" not in chunk:
            chunk += await self.upstream_reader.read(CHUNK)
        head, _, body = chunk.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 206")) or length is None or int(length[1]) < 2:
            return False
        self.proxy.cut -= 1
        half = int(length[1]) // 2
        while len(body) < half and (more := await self.upstream_reader.read(CHUNK)):
            body += more
        self.client_writer.write(head + b"\r\n\r\n" + body[:half])
        await self.client_writer.drain()
        return True


async def main() -> None:
    """Serve until killed."""
    port, upstream_port = int(sys.argv[1]), int(sys.argv[2])
    faults_file, journal = Path(sys.argv[3]), Path(sys.argv[4])
    faults = json.loads(faults_file.read_text()) if faults_file.exists() else {}
    latency, failing = faults.get("latency_ms", 0) / 1000, faults.get("fail_percent", 0) / 100
    proxy = Proxy(upstream_port, latency, faults.get("cut", 0), failing, journal)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, reuse_address=True, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
