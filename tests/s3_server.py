"""A real S3 server over a folder, for tests: rclone, with keys of its own; and one that denies everything."""

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving_s3(folder: Path) -> Iterator[dict[str, str]]:
    """Serve ``folder``'s subfolders as buckets; yields the ``AWS_*`` variables that lead there."""
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "rclone"), "serve", "s3", str(folder)]
    command += [
        "--addr",
        f"127.0.0.1:{port}",
        "--config",
        os.devnull,
        "--vfs-cache-mode",
        "off",
        "-q",
    ]
    with subprocess.Popen(command, env=os.environ | {"RCLONE_AUTH_KEY": f'"{key},{secret}"'}) as server:
        try:
            _wait_for(port)
            yield {
                "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_REGION": "us-east-1",
            }
        finally:
            server.kill()


class _Denying(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _deny(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _deny

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def denying_s3() -> Iterator[str]:
    """An S3 that denies every request; yields its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Denying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("rclone serve s3 did not start")
