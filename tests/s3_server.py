"""A real S3 server over a folder, for tests: rclone, with keys of its own."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("rclone serve s3 did not start")
