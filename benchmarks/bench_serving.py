"""How quick and how steady an endpoint is: ``python -m benchmarks.bench_serving`` prints a table.

One model, EfficientNet-Lite0 with an untrained head, is asked in three ways, in turns, so that whatever else the
machine does hits all of them alike:

* bare: `benchmarks.bare_loop`, decoding on threads and the network over batches of 16, without any server;
* endpoint: 16 clients, one photo a request, through a real embedded cloud;
* the old way: an endpoint in float32 with one worker, the network as it was trained and memory as glibc keeps it,
  and one client.

Clients, server and bare loop have the same cores. Photos are rendered at 480x560 unless ``--photos`` names a tar of
real ones. ``--memory`` asks 10,000 times more and watches the memory of the model's processes.
"""

import argparse
import contextlib
import io
import statistics
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import torch
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from PIL import Image

from benchmarks.bare_loop import bare
from benchmarks.bench_localcloud import Client, command
from tasks.code_archive import pack, serving_code
from tasks.weights import find_weights
from training import model
from training.files import CARD_FILE, WEIGHTS_FILE
from training.memory import SERVING_ENVIRONMENT

BACKBONE, CLASSES, CLIENTS, PHOTOS = "efficientnet_lite0", (1, 2, 3, 4, 5), 16, 64


def rendered(number: int) -> bytes:
    """A JPEG with the size and about the detail of a bin photo."""
    torch.manual_seed(number)
    coarse = Image.fromarray(torch.randint(0, 255, (70, 60, 3), dtype=torch.uint8).numpy())
    body = io.BytesIO()
    coarse.resize((480, 560), Image.Resampling.BICUBIC).save(body, "JPEG", quality=90)
    return body.getvalue()


def real(tar: Path) -> list[bytes]:
    """The first photos of a tar."""
    with tarfile.open(tar) as archive:
        members = (archive.extractfile(member) for member in archive if member.name.endswith(".jpg"))
        return [file.read() for file, _ in zip(filter(None, members), range(PHOTOS), strict=False)]


def save(folder: Path, precision: str, size: int) -> Path:
    """A model for 224-pixel photos that answers in one arithmetic."""
    torch.manual_seed(0)
    network = model.net(BACKBONE, len(CLASSES), find_weights(BACKBONE)).eval()
    backbone = model.BACKBONES[BACKBONE]
    card = model.ModelCard(BACKBONE, CLASSES, size, backbone.mean, backbone.std, precision, precision=precision)
    model.save(network, card, folder)
    return folder


class Endpoint:
    """An endpoint and signed requests for it; a signature is good for a quarter of an hour."""

    def __init__(self, client: Client, name: str, saved: Path, environment: dict[str, str]) -> None:
        self.client, self.name = client, name
        files = {file: (saved / file).read_bytes() for file in (WEIGHTS_FILE, CARD_FILE)}
        files |= serving_code() | {"code/plain.py": PLAIN_SCRIPT}
        client.s3.put_object(Bucket="bench", Key=f"{name}.tar.gz", Body=pack(files))
        container = {"Image": "pytorch", "ModelDataUrl": f"s3://bench/{name}.tar.gz", "Environment": environment}
        role = "arn:aws:iam::000000000000:role/benchmark"
        client.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role)
        variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        client.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        client.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        client.sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 300}
        )

    def signed(self, photos: list[bytes]) -> list[tuple[bytes, dict[str, str]]]:
        """Photos with the headers of a request for each."""
        variables = self.client.variables
        session = boto3.Session(
            variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"], region_name=variables["AWS_REGION"]
        )
        keys: Any = session.get_credentials()
        found = []
        for photo in photos:
            request = AWSRequest("POST", self.url, data=photo, headers={"content-type": "image/jpeg"})
            SigV4Auth(keys, "sagemaker", variables["AWS_REGION"]).add_auth(request)
            found.append((photo, dict(request.headers)))
        return found

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.client.variables['AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME']}/endpoints/{self.name}/invocations"

    def ask(self, photos: list[bytes], requests: int, clients: int) -> tuple[float, list[float]]:
        """Photos a second, and the seconds that each request took."""
        signed, seconds = self.signed(photos), []
        places = iter(range(requests))

        def work() -> None:
            with httpx.Client(trust_env=False, timeout=120) as http:
                for place in places:
                    body, headers = signed[place % len(signed)]
                    began = time.perf_counter()
                    http.post(self.url, content=body, headers=headers).raise_for_status()
                    seconds.append(time.perf_counter() - began)

        threads = [threading.Thread(target=work) for _ in range(clients)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return requests / (time.perf_counter() - began), seconds

    def memory(self) -> float:
        """Resident megabytes of the model's processes: the launcher, the server, and its workers."""
        folder, total = str(self.client.home / "endpoints" / self.name), 0.0
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd().startswith(folder):
                    total += process.memory_info().rss / 1e6
        if not total:
            raise RuntimeError(f"no model server runs in {folder}")
        return total


PLAIN_SCRIPT = b"""
import training.model
training.model.fold = lambda network: network
import inference
inference.Batcher = lambda run, **_: run
from inference import *
"""
"""Serves the network as it was trained, its normalisations not folded, and each request on all cores."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="tar of real JPEGs")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input (default: 224)")
    parser.add_argument("--requests", type=int, default=320, help="photos in each turn (default: 320)")
    parser.add_argument("--turns", type=int, default=3, help="turns of each way (default: 3)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--memory", action="store_true", help="also watch the memory over 10,000 requests")
    options = parser.parse_args()
    photos = real(options.photos) if options.photos else [rendered(number) for number in range(PHOTOS)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "cloud"
        command(home, "up")
        try:
            measure(Path(folder), Client(home), photos, options)
        finally:
            command(home, "down")


def measure(folder: Path, client: Client, photos: list[bytes], options: argparse.Namespace) -> None:
    """Ask in all three ways, in turns."""
    saved = save(folder / "new", options.precision, options.size)
    new = Endpoint(client, "new", saved, serving("inference.py", CLIENTS) | SERVING_ENVIRONMENT)
    old = Endpoint(client, "old", save(folder / "old", "float32", options.size), serving("plain.py", 1))
    rates: dict[str, list[float]] = {"bare": [], "endpoint": [], "old way": []}
    latencies: list[float] = []
    new.ask(photos, 2 * CLIENTS, CLIENTS)
    old.ask(photos, 8, 1)
    for _ in range(options.turns):
        rates["bare"].append(bare(saved, photos, options.requests))
        rate, seconds = new.ask(photos, options.requests, CLIENTS)
        rates["endpoint"].append(rate)
        latencies += seconds
        rates["old way"].append(old.ask(photos, max(8, options.requests // 4), 1)[0])
    middle = {name: statistics.median(found) for name, found in rates.items()}
    kilobytes = statistics.mean(map(len, photos)) / 1000
    print(f"{options.size} pixels, {options.precision}, photos of {kilobytes:.0f} KB, {options.turns} turns\n")
    print("| photos a second | median | turns |\n|---|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {middle[name]:.1f} | {', '.join(f'{rate:.1f}' for rate in found)} |")
    print(f"\nendpoint / bare: {middle['endpoint'] / middle['bare']:.0%}")
    print(f"endpoint / old way: {middle['endpoint'] / middle['old way']:.1f} times")
    cuts = statistics.quantiles(latencies, n=100)
    print(f"latency with {CLIENTS} clients: p50 {1000 * cuts[49]:.0f} ms, p99 {1000 * cuts[98]:.0f} ms")
    if options.memory:
        watch_memory(new, photos)


def serving(program: str, workers: int) -> dict[str, str]:
    """Variables that tell the container what to run."""
    return {"SAGEMAKER_PROGRAM": program, "SAGEMAKER_MODEL_SERVER_WORKERS": str(workers)}


def watch_memory(endpoint: Endpoint, photos: list[bytes]) -> None:
    """The model's process after every thousand requests."""
    sizes = []
    for _ in range(11):
        endpoint.ask(photos, 1000, CLIENTS)
        sizes.append(endpoint.memory())
    print("memory in MB after each thousand requests: " + ", ".join(f"{size:.0f}" for size in sizes))
    print(f"from 1,000 to 11,000 requests: {sizes[-1] - sizes[0]:+.0f} MB")


if __name__ == "__main__":
    main()
