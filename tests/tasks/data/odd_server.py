"""A bucket server that treats some objects oddly: ``ODD`` in its folder says which keys, and how, as JSON.

``forbidden`` is 403, ``disowned`` 403 for want of a key that S3 knows, ``failing`` 503 every time, and ``swapped`` is
another body of the same length and ETag, and another one at each try. ``encrypted`` has an ETag that looks like an MD5
and is none, as S3 gives with SSE-KMS.
"""

import argparse
import asyncio
import hashlib
import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.tasks.bucket_server import BucketServer, running_server

ODD = "odd.json"
_ANSWERS = {
    "forbidden": (403, b"<Error><Code>AccessDenied</Code></Error>"),
    "disowned": (403, b"<Error><Code>InvalidAccessKeyId</Code></Error>"),
    "failing": (503, b"<Error><Code>SlowDown</Code></Error>"),
}


class OddServer(BucketServer):
    """Answers as told; otherwise as a bucket server does."""

    swaps = 0

    async def answer(self, method: str, target: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        bucket, _, key = unquote(urlsplit(target).path).lstrip("/").partition("/")
        how = self.told(key)
        if how == "swapped":
            path = self.folder / bucket / key
            body = path.read_bytes()
            self.swaps += 1
            return await self.send(writer, 200, body[self.swaps :] + body[: self.swaps], self.etag(path, body))
        if how in _ANSWERS:
            return await self.send(writer, *_ANSWERS[how])
        return await super().answer(method, target, headers, writer)

    def told(self, key: str) -> str:
        """How to treat a key; empty where nothing is said of it."""
        odd = json.loads((self.folder / ODD).read_text()) if (self.folder / ODD).exists() else {}
        return str(odd.get(key, odd.get(key.partition("/")[0], "")))

    def etag(self, path: Path, body: bytes) -> str:
        if self.told("/".join(path.relative_to(self.folder).parts[1:])) == "encrypted":
            return f'"{hashlib.md5(b"encrypted" + body, usedforsecurity=False).hexdigest()}"'
        return super().etag(path, body)


def serving_oddly(folder: Path, log: Path) -> AbstractContextManager[str]:
    """Serve ``folder`` in a process of its own; yields the endpoint's URL."""
    return running_server([sys.executable, "-m", "tests.tasks.data.odd_server", str(folder), str(log)])


async def _main(folder: Path, log: Path) -> None:
    arguments = argparse.Namespace(folder=folder, log=log, latency=0.0, fail_rate=0.0, cut_rate=0.0, seed=0, region="")
    server = await asyncio.start_server(OddServer(arguments).serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
