"""What InvokeEndpoint costs beyond the model: `python -m benchmarks.invoke_endpoint`.

Starts a localcloud in a temporary folder, deploys a model that answers at once, and asks it with the same client
and the same 60 KB body: the model's process directly, through the service with a signed request, and through
boto3. Then 16 clients ask together.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SCRIPT = b"""
def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    return b"3", "application/json"
"""
BODY = b"\xff\xd8" + b"x" * 60_000
CLIENTS = 16


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help="requests for each line (default: 1000)")
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "cloud"
        localcloud(home, "up")
        try:
            measure(home, json.loads(localcloud(home, "env", "--format", "json")), requests)
        finally:
            localcloud(home, "down")


def measure(home: Path, variables: dict[str, str], requests: int) -> None:
    """Deploy, ask, print."""
    session = boto3.Session(variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    deploy(session, variables)
    (port_file,) = (home / "endpoints" / "bench").glob("*/0/port")
    direct = f"http://127.0.0.1:{port_file.read_text()}/invocations"
    url = f"{variables['AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME']}/endpoints/bench/invocations"
    runtime = client(session, "sagemaker-runtime", variables)
    with httpx.Client(trust_env=False) as http:
        plain = {"content-type": "image/jpeg"}
        alone = median(requests, lambda: http.post(direct, content=BODY, headers=plain).raise_for_status())
        headers = sign(session, url)
        service = median(requests, lambda: http.post(url, content=BODY, headers=headers).raise_for_status())
        sdk = median(requests, lambda: ask(runtime))
    print("| 60 KB request, one client | median |\n|---|---|")
    print(f"| the model's process directly | {alone:.2f} ms |")
    print(f"| InvokeEndpoint | {service:.2f} ms ({service - alone:+.2f} ms) |")
    print(f"| InvokeEndpoint through boto3, which signs and parses | {sdk:.2f} ms |")
    print(f"\n{CLIENTS} clients together: {together(url, headers, requests):.0f} requests a second")


def deploy(session: boto3.Session, variables: dict[str, str]) -> None:
    """One endpoint, `bench`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(SCRIPT)
        tar.addfile(member, io.BytesIO(SCRIPT))
    s3, sagemaker = client(session, "s3", variables), client(session, "sagemaker", variables)
    s3.create_bucket(Bucket="bench")
    s3.put_object(Bucket="bench", Key="model.tar.gz", Body=packed.getvalue())
    container = {"Image": "pytorch", "ModelDataUrl": "s3://bench/model.tar.gz"}
    role = "arn:aws:iam::000000000000:role/bench"
    sagemaker.create_model(ModelName="bench", PrimaryContainer=container, ExecutionRoleArn=role)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "bench",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="bench", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="bench", EndpointConfigName="bench")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="bench", WaiterConfig={"Delay": 1})


def client(session: boto3.Session, service: str, variables: dict[str, str]) -> Any:
    """A boto3 client of the temporary cloud."""
    address = variables[f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"]
    return session.client(service, endpoint_url=address)  # type: ignore[call-overload]


def sign(session: boto3.Session, url: str) -> dict[str, str]:
    """The headers of a signed request, which is good for a quarter of an hour."""
    found = session.get_credentials()
    assert found is not None
    request = AWSRequest("POST", url, data=BODY, headers={"content-type": "image/jpeg"})
    SigV4Auth(Credentials(found.access_key, found.secret_key), "sagemaker", "us-east-1").add_auth(request)
    return dict(request.headers)


def ask(runtime: Any) -> None:
    """One request through boto3."""
    runtime.invoke_endpoint(EndpointName="bench", Body=BODY, ContentType="image/jpeg")["Body"].read()


def median(requests: int, work: Callable[[], object]) -> float:
    """The median duration in milliseconds, after a warm-up."""
    durations = []
    for number in range(requests + 50):
        began = time.perf_counter()
        work()
        if number >= 50:
            durations.append(time.perf_counter() - began)
    return statistics.median(durations) * 1000


def together(url: str, headers: dict[str, str], requests: int) -> float:
    """Requests a second of all clients together."""

    def work() -> None:
        with httpx.Client(trust_env=False) as http:
            for _ in range(requests // CLIENTS):
                http.post(url, content=BODY, headers=headers, timeout=60).raise_for_status()

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return requests // CLIENTS * CLIENTS / (time.perf_counter() - began)


def localcloud(home: Path, *arguments: str) -> str:
    """Run a command of localcloud and return what it printed."""
    command = [sys.executable, "-m", "localcloud", *arguments, "--home", str(home)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
