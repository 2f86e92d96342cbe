"""The service process: ``python -m localcloud.api.service HOME SOCKET_FD S3_PORT REGION STOP_GRACE``."""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from localcloud import operations
from localcloud.api import protocol
from localcloud.api.app import App
from localcloud.api.signature import Verifier
from localcloud.faults import Faults
from localcloud.host.cores import Cores
from localcloud.host.environment import client_environment
from localcloud.host.home import ACCOUNT, Home
from localcloud.host.keys import load_or_make
from localcloud.host.processes import Processes
from localcloud.host.workers import Workers
from localcloud.journal import Journal
from localcloud.operations import Cloud
from localcloud.s3 import S3
from localcloud.store import Store

_log = logging.getLogger(__name__)


def make_cloud(home: Home, s3_port: int, service_port: int, region: str, stop_grace: float) -> Cloud:
    """Everything that operations work with."""
    keys = load_or_make(home.keys)
    s3_endpoint = f"http://127.0.0.1:{s3_port}"
    return Cloud(
        home=home.root,
        region=region,
        account=ACCOUNT,
        stop_grace_seconds=stop_grace,
        store=Store(home.database),
        s3=S3(s3_endpoint, keys, region),
        processes=Processes(owner=os.getppid()),
        workers=Workers(),
        cores=Cores(),
        faults=Faults(),
        journal=Journal(home.journal),
        environment=client_environment(s3_endpoint, f"http://127.0.0.1:{service_port}", keys, region),
    )


def recover(cloud: Cloud) -> None:
    """Pick up what a crash or ``down`` interrupted."""
    for start in operations.starters():
        try:
            start(cloud)
        except Exception:  # noqa: BLE001 - logged; the service goes on
            _log.exception("%s failed; what it would have picked up is left as it was", start.__qualname__)


def main() -> None:
    """Serve until SIGTERM."""
    faulthandler.register(signal.SIGUSR2, all_threads=True)  # kill -USR2 shows in the log where every thread is
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    home, region = Home(Path(sys.argv[1])), sys.argv[4]
    listener = socket.socket(fileno=int(sys.argv[2]))
    listener.set_inheritable(False)
    cloud = make_cloud(home, int(sys.argv[3]), listener.getsockname()[1], region, float(sys.argv[5]))
    operations.load_operations()
    app = App(cloud, Verifier(load_or_make(home.keys), region))
    threading.Thread(target=protocol.service_model, args=("sagemaker",), daemon=True).start()
    recover(cloud)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=5
    )
    uvicorn.Server(config).run(sockets=[listener])
    cloud.workers.stop()
    cloud.store.close()


if __name__ == "__main__":
    main()
