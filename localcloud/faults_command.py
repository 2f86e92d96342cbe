"""The ``faults`` command: speaks to the running service, and asks the supervisor for a faulty S3."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from localcloud.errors import LocalCloudError
from localcloud.host.home import Home, State, write_json
from localcloud.host.keys import load_or_make
from localcloud.host.s3_server import faults_version

PATIENCE_SECONDS = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The grammar of ``faults``."""
    # Without a default of its own, so that a --home before the fault's name is not overwritten.
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--home", type=Path, default=argparse.SUPPRESS, help="the state folder")
    kinds = parser.add_subparsers(dest="fault", required=True, metavar="FAULT")

    def kind(name: str, text: str) -> argparse.ArgumentParser:
        return kinds.add_parser(name, parents=[parent], help=text, description=text)

    for name, text in (
        ("throttle", "answer the next calls with ThrottlingException"),
        ("fail", "answer the next calls with HTTP 500"),
        ("conflict", "answer the next calls with ConflictException"),
        ("unseen", "answer the next calls as if what they name were not there yet"),
    ):
        sub = kind(name, text)
        sub.add_argument("calls", type=int)
        sub.add_argument("--operation", help="only calls of this operation, such as CreateTrainingJob")
    kind("interrupt-spot", "take the instance of the next spot job away after so many seconds").add_argument(
        "seconds", type=float
    )
    kind("kill-endpoint", "kill the processes of an endpoint, as a crash would").add_argument("endpoint")
    kind("s3-latency", "delay every S3 request").add_argument("milliseconds", type=float)
    kind("s3-cut", "end the next S3 GETs in the middle of their body").add_argument("responses", type=int)
    kind("s3-fail", "answer a share of the S3 requests with 503 SlowDown").add_argument("percent", type=float)
    kind("list", "say which faults are on")
    kind("clear", "end all faults")


def run(home: Home, state: State, arguments: argparse.Namespace) -> str:
    """Do one ``faults`` command; returns what to print."""
    if arguments.fault == "s3-latency":
        return _change_s3(home, latency_ms=arguments.milliseconds)
    if arguments.fault == "s3-cut":
        return _change_s3(home, cut=arguments.responses)
    if arguments.fault == "s3-fail":
        return _change_s3(home, fail_percent=arguments.percent)
    names = ("calls", "operation", "seconds", "endpoint")
    order = {name: getattr(arguments, name) for name in names if getattr(arguments, name, None) is not None}
    answer = _post(home, state, {"do": arguments.fault, **order})
    if arguments.fault == "clear":
        home.s3_faults.unlink(missing_ok=True)
        _wait_for_supervisor(home)
    return json.dumps({**answer, "s3": _s3_faults(home)}, indent=2)


def _change_s3(home: Home, **change: float) -> str:
    write_json(home.s3_faults, {**_s3_faults(home), **change})
    _wait_for_supervisor(home)
    return json.dumps({"s3": _s3_faults(home)}, indent=2)


def _s3_faults(home: Home) -> dict[str, float]:
    try:
        return dict(json.loads(home.s3_faults.read_text()))
    except FileNotFoundError:
        return {}


def _wait_for_supervisor(home: Home) -> None:
    """Wait until S3 has the faults that are asked for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        state = home.running()
        if state is not None and state.s3_faults == faults_version(home):
            return
        time.sleep(0.02)
    raise LocalCloudError(f"S3 did not change within {PATIENCE_SECONDS:.0f} s; see {home.supervisor_log}")


def _post(home: Home, state: State, order: dict[str, Any]) -> dict[str, Any]:
    import httpx
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    keys = load_or_make(home.keys)
    request = AWSRequest("POST", f"{state.service_endpoint}/_localcloud/faults", data=json.dumps(order))
    SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), "localcloud", state.region).add_auth(request)
    prepared = request.prepare()
    answer = httpx.post(prepared.url, content=json.dumps(order), headers=dict(prepared.headers.items()), timeout=30)
    content: dict[str, Any] = answer.json()
    if answer.status_code != 200:
        raise LocalCloudError(content.get("message", answer.text))
    return content
