"""Serves one model over HTTP on loopback, as AWS's PyTorch inference container does.

    python -m localcloud.model_server --model-dir DIR --port-file FILE

DIR is an extracted `model.tar.gz`. The server loads the model first, then listens on a free port of 127.0.0.1
and writes its number to FILE, so a port file means a healthy server. A model that cannot be loaded ends the
process with exit status 1 and the reason as the last line on stderr.

Environment: `SAGEMAKER_PROGRAM`, `SAGEMAKER_SUBMIT_DIRECTORY`, `SAGEMAKER_MODEL_SERVER_WORKERS` and
`SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT`, as in AWS's containers.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import traceback
from pathlib import Path

import uvicorn

from localcloud.model_server.app import ModelApp
from localcloud.model_server.loading import load_handlers, request_limit, worker_threads

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 30  # between SIGTERM and SIGKILL on AWS
KEEP_ALIVE_SECONDS = 3600  # the client closes its connections; we never close one that it may be using


def main() -> int:
    """Load the model and serve it until SIGTERM."""
    options = _parse_arguments()
    _hide_localcloud()
    try:
        handlers = load_handlers(options.model_dir, os.environ)
        threads = worker_threads(os.environ)
        most = min(options.max_payload, request_limit(os.environ))
    except Exception as error:  # noqa: BLE001 - whatever user code raises is the reason
        traceback.print_exc()
        reason = " ".join(str(error).split()) or "no message"
        print(f"{type(error).__name__}: {reason}", file=sys.stderr, flush=True)
        return 1
    app = ModelApp(handlers, threads, most)
    config = uvicorn.Config(
        app.asgi,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    listener = _listen(options.port)
    _publish(options.port_file, listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(port: int) -> socket.socket:
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it, an answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    listener.listen(512)
    return listener


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m localcloud.model_server", description="Serve one model.")
    parser.add_argument("--model-dir", type=Path, required=True, help="the extracted model.tar.gz")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default: a free one")
    parser.add_argument("--port-file", type=Path, help="where to write the port once the model is loaded")
    parser.add_argument(
        "--max-payload",
        type=int,
        default=6 * 1024 * 1024,
        help="largest request in bytes; default 6 MiB",
    )
    return parser.parse_args()


def _hide_localcloud() -> None:
    """Take the folder that localcloud was imported from off `sys.path`, unless it is an installed package.

    In a container only the model's own code can be imported. A script that imports its neighbours in the
    repository must fail here as it would on AWS.
    """
    root = Path(__file__).resolve().parents[2]
    if root.name not in {"site-packages", "dist-packages"}:
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != root]


def _publish(port_file: Path | None, port: int) -> None:
    if port_file is None:
        print(f"listening on http://{LOOPBACK}:{port}", file=sys.stderr, flush=True)
        return
    draft = port_file.with_suffix(".draft")
    draft.write_text(str(port))
    draft.replace(port_file)


if __name__ == "__main__":
    sys.exit(main())
