"""An S3 server with as many photos as anybody asks for, made from one: ``python -m benchmarks.endless_bucket [JPEG]``.

``bin-images/<n>.jpg`` and ``metadata/<n>.json`` exist for every number; all photos differ. It prints its port.
"""

import asyncio
import io
import json
import sys
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from PIL import Image


def count_of(number: int) -> int:
    """Return how many things are in the bin of photo ``number``: 1 to 5."""
    return 1 + number % 5


def _photo(of: list[str]) -> bytes:
    """Return the JPEG that was asked for, or one so small that everything but photos is what takes the time."""
    if of:
        return Path(of[0]).read_bytes()
    body = io.BytesIO()
    Image.linear_gradient("L").resize((80, 60)).convert("RGB").save(body, "JPEG")
    return body.getvalue()


def _answer(target: str, photo: bytes) -> tuple[bytes, str]:
    """Return what a GET of ``target`` is answered with, and its ETag."""
    kind, _, name = unquote(target).partition("?")[0].strip("/").partition("/")[2].partition("/")
    number = name.partition(".")[0]
    if kind == "bin-images":
        return photo + number.encode(), f"photo-{number}"
    if kind == "metadata":
        sku = {"asin": f"B{int(number) // 2:09d}", "name": "A thing in a box", "quantity": count_of(int(number))}
        record = {"BIN_FCSKU_DATA": {sku["asin"]: sku}, "EXPECTED_QUANTITY": sku["quantity"]}
        return json.dumps(record).encode(), f"record-{number}"
    return b"", "bucket"


async def _serve(photo: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = head.split(b" ", 2)
            body, etag = _answer(target.decode(), photo)
            said = f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nETag: "{etag}"\r\n'
            said += "Last-Modified: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n"
            writer.write(said.encode() + (body if method == b"GET" else b""))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(partial(_serve, _photo(sys.argv[1:])), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
