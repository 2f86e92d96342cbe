"""A small S3 server in memory whose ETags are AWS's: that of an object put in parts is no MD5 of it."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class PartServer(http.server.ThreadingHTTPServer):
    """``objects`` has body and ETag by ``bucket/key``; every bucket is there."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.parts: dict[str, dict[int, bytes]] = {}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PartServer

    def do_HEAD(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        name, query = self.asked()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "uploadId" in query:
            self.server.parts[query["uploadId"]][int(query["partNumber"])] = body
        else:
            self.server.objects[name] = body, md5(body).hex()
        self.answer(etag=md5(body).hex())

    def do_POST(self) -> None:
        name, query = self.asked()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "uploads" in query:
            upload = str(len(self.server.parts))
            self.server.parts[upload] = {}
            return self.answer(
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        parts = [body for _, body in sorted(self.server.parts[query["uploadId"]].items())]
        etag = f"{md5(b''.join(map(md5, parts))).hex()}-{len(parts)}"
        self.server.objects[name] = b"".join(parts), etag
        return self.answer(f'<CompleteMultipartUploadResult><ETag>"{etag}"</ETag></CompleteMultipartUploadResult>')

    def do_GET(self) -> None:
        bucket, query = self.asked()
        listed = "".join(
            f"<Contents><Key>{escape(name.removeprefix(f'{bucket}/'))}</Key><Size>{len(body)}</Size>"
            f'<ETag>"{etag}"</ETag><LastModified>2026-11-23T00:00:00.000Z</LastModified></Contents>'
            for name, (body, etag) in sorted(self.server.objects.items())
            if name.startswith(f"{bucket}/{query['prefix']}")
        )
        self.answer(f"<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>")

    def asked(self) -> tuple[str, dict[str, str]]:
        """Return ``bucket/key`` and the query."""
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        return unquote(url.path).strip("/"), {name: values[0] for name, values in query.items()}

    def answer(self, body: str = "", etag: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body.encode())))
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def md5(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


@contextmanager
def serving_parts() -> Iterator[tuple[str, PartServer]]:
    """Yield the address of a fresh server, and the server."""
    with PartServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server
        finally:
            server.shutdown()
            thread.join()
