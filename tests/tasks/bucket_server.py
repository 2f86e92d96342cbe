"""A small read-only S3 server that misbehaves as told: slow, failing, cutting bodies short; it logs every GET.

``python -m tests.tasks.bucket_server FOLDER --latency 0.02`` serves ``FOLDER/<bucket>/<key>`` and prints its port.
"""

import argparse
import asyncio
import hashlib
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000


class BucketServer:
    """Answers GET, HEAD and ListObjectsV2."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.folder: Path = arguments.folder
        self.latency: float = arguments.latency
        self.fail_rate: float = arguments.fail_rate
        self.cut_rate: float = arguments.cut_rate
        self.region: str = arguments.region
        self.chance = random.Random(arguments.seed)
        self.log = arguments.log.open("a") if arguments.log else None
        self.etags: dict[tuple[str, int], str] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ", 2)
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
                if self.latency:
                    await asyncio.sleep(self.latency)
                if not await self.answer(method, target, headers, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, method: str, target: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        """Write one response; returns whether the connection stays open."""
        where = f"x-amz-bucket-region: {self.region}\r\n" if self.region else ""
        if self.region and f"/{self.region}/s3/" not in headers.get("authorization", ""):
            return await self.send(writer, 301, b"", extra=where)
        url = urlsplit(target)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        if not (self.folder / bucket).is_dir():
            return await self.send(writer, 404, b"<Error><Code>NoSuchBucket</Code></Error>")
        if not key:
            listing = self.listing(bucket, parse_qs(url.query)) if url.query else b""
            return await self.send(writer, 200, listing, extra=where)
        if self.chance.random() < self.fail_rate:
            return await self.send(writer, 503, b"<Error><Code>SlowDown</Code></Error>")
        try:
            body = (self.folder / bucket / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return await self.send(writer, 404, b"<Error><Code>NoSuchKey</Code></Error>")
        etag = self.etag(self.folder / bucket / key, body)
        if headers.get("if-none-match") == etag:
            return await self.send(writer, 304, b"", etag)
        if method == "GET" and self.chance.random() < self.cut_rate:
            await self.send(writer, 200, body[: len(body) // 2], etag, announced=len(body))
            return False
        if "range" in headers:  # the client goes on with a body that was cut
            start = int(headers["range"].removeprefix("bytes=").partition("-")[0])
            content_range = f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n"
            return await self.send(writer, 206, body[start:], etag, extra=content_range)
        if method == "GET" and self.log:
            self.log.write(f"{key}\n")
            self.log.flush()
        return await self.send(writer, 200, body if method == "GET" else b"", etag, announced=len(body))

    def etag(self, path: Path, body: bytes) -> str:
        version = (str(path), path.stat().st_mtime_ns)
        if version not in self.etags:
            self.etags[version] = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        return self.etags[version]

    def listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", [""])[0]
        root = self.folder / bucket
        keys = sorted(str(p.relative_to(root)) for p in (root / prefix).rglob("*") if p.is_file())
        keys = [key for key in keys if key > after]
        page = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{(root / key).stat().st_size}</Size>"
            f'<ETag>"x"</ETag><LastModified>2026-11-23T00:00:00.000Z</LastModified></Contents>'
            for key in keys[:PAGE]
        )
        more = len(keys) > PAGE
        token = f"<NextContinuationToken>{escape(keys[PAGE - 1])}</NextContinuationToken>" if more else ""
        cut = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{cut}{token}{page}</ListBucketResult>".encode()

    async def send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: bytes,
        etag: str = "",
        announced: int | None = None,
        extra: str = "",
    ) -> bool:
        length = len(body) if announced is None else announced
        head = f"HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n{extra}"
        head += "Last-Modified: Mon, 23 Nov 2026 00:00:00 GMT\r\n"
        writer.write((head + (f"ETag: {etag}\r\n" if etag else "") + "\r\n").encode() + body)
        await writer.drain()
        return True


async def _main(arguments: argparse.Namespace) -> None:
    server = await asyncio.start_server(BucketServer(arguments).serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def serving(folder: Path, *options: str) -> AbstractContextManager[str]:
    """Serve ``folder`` in a process of its own; yields the endpoint's URL."""
    return running_server([sys.executable, "-m", "tests.tasks.bucket_server", str(folder), *options])


@contextmanager
def running_server(command: list[str]) -> Iterator[str]:
    """Run a server that prints its port; yields its URL."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--fail-rate", type=float, default=0.0)
    parser.add_argument("--cut-rate", type=float, default=0.0)
    parser.add_argument("--region", default="", help="send requests that are signed for another one away, as AWS does")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    asyncio.run(_main(parser.parse_args()))
