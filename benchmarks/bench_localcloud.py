"""How quick localcloud is: ``python -m benchmarks.bench_localcloud`` prints a table; about two minutes on two cores.

Each figure is a median over repetitions on an otherwise idle machine. The table in docs/localcloud.md comes from
here; what InvokeEndpoint costs is measured by ``python -m benchmarks.invoke_endpoint``.
"""

import asyncio
import io
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import obstore
from obstore.store import S3Store

ROOT = Path(__file__).resolve().parents[1]
ROLE = "arn:aws:iam::000000000000:role/benchmark"
OBJECTS, OBJECT_BYTES, IN_FLIGHT, TURN = 10_000, 60_000, 64, 500
FIRST_LINE = "import time\nprint(time.time(), flush=True)\n"


def command(home: Path, *arguments: str) -> str:
    """Run ``python -m localcloud``; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "localcloud", *arguments, "--home", str(home)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def median_ms(measure: Callable[[], float], repetitions: int) -> float:
    """The median of a measurement in seconds, as milliseconds."""
    return statistics.median(measure() for _ in range(repetitions)) * 1000


def bench_up(folder: Path) -> float:
    """Milliseconds from the call of ``up`` in a new home until it returns."""

    def once() -> float:
        home = folder / f"up-{secrets.token_hex(4)}"
        began = time.perf_counter()
        command(home, "up")
        seconds = time.perf_counter() - began
        command(home, "reset")
        return seconds

    return median_ms(once, 5)


class Client:
    """boto3 clients of a running cloud."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.variables: dict[str, str] = json.loads(command(home, "env", "--format", "json"))
        self.s3, self.sagemaker = self._client("s3", "S3"), self._client("sagemaker", "SAGEMAKER")
        self.logs = self._client("logs", "CLOUDWATCH_LOGS")
        self.s3.create_bucket(Bucket="bench")

    def _client(self, service: str, name: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.variables[f"AWS_ENDPOINT_URL_{name}"],
            region_name=self.variables["AWS_REGION"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
        )

    def put_archive(self, key: str, name: str, text: str) -> str:
        """Store a tar.gz of one file; returns its URI."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        self.s3.put_object(Bucket="bench", Key=key, Body=packed.getvalue())
        return f"s3://bench/{key}"


def bench_first_line(client: Client) -> float:
    """Milliseconds from CreateTrainingJob until the script's first line runs."""
    source = client.put_archive("code/sourcedir.tar.gz", "train.py", FIRST_LINE)

    def once() -> float:
        name = f"first-{secrets.token_hex(4)}"
        began = time.time()
        client.sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=ROLE,
            AlgorithmSpecification={"TrainingImage": "pytorch", "TrainingInputMode": "File"},
            HyperParameters={"sagemaker_program": "train.py", "sagemaker_submit_directory": source},
            OutputDataConfig={"S3OutputPath": "s3://bench/output"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
        while client.sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress":
            time.sleep(0.05)
        events = client.logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=name)[
            "events"
        ]
        return float(events[0]["message"]) - began

    return median_ms(once, 7)


@contextmanager
def bare_rclone(folder: Path, key: str, secret: str) -> Iterator[str]:
    """``rclone serve s3`` and nothing else; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "bench").mkdir(parents=True)
    rclone = str(Path(sys.executable).with_name("rclone"))
    server = subprocess.Popen(
        [rclone, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"],
        env=os.environ | {"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_CONFIG": os.devnull},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


class Transfer:
    """Stores and reads objects through obstore, many at a time, and adds up the seconds that it takes."""

    def __init__(self, endpoint: str, variables: dict[str, str]) -> None:
        self.seconds = {"stored": 0.0, "read back": 0.0}
        self._content = secrets.token_bytes(OBJECT_BYTES)
        self._store = S3Store(
            "bench",
            endpoint=endpoint,
            region=variables["AWS_REGION"],
            access_key_id=variables["AWS_ACCESS_KEY_ID"],
            secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    def run(self, what: str, numbers: range) -> None:
        """Store or read back the objects of these numbers."""
        self.seconds[what] += asyncio.run(self._each(self._put if what == "stored" else self._get, numbers))

    async def _each(self, work: Callable[[str], Any], numbers: range) -> float:
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(number: int) -> None:
            async with gate:
                await work(f"objects/{number:05d}")

        began = time.perf_counter()
        await asyncio.gather(*(one(number) for number in numbers))
        return time.perf_counter() - began

    async def _put(self, key: str) -> None:
        await obstore.put_async(self._store, key, self._content)

    async def _get(self, key: str) -> None:
        answer = await obstore.get_async(self._store, key)
        assert len(await answer.bytes_async()) == OBJECT_BYTES


def bench_s3(client: Client, folder: Path) -> list[tuple[str, float, float]]:
    """Rows of (what, localcloud, bare rclone) in objects a second; the two take short turns."""
    keys = (client.variables["AWS_ACCESS_KEY_ID"], client.variables["AWS_SECRET_ACCESS_KEY"])
    with bare_rclone(folder / "bare", *keys) as endpoint:
        ours = Transfer(client.variables["AWS_ENDPOINT_URL_S3"], client.variables)
        bare = Transfer(endpoint, client.variables)
        for what in ("stored", "read back"):
            for turn, start in enumerate(range(0, OBJECTS, TURN)):
                for transfer in (ours, bare) if turn % 2 else (bare, ours):
                    transfer.run(what, range(start, start + TURN))
    return [(what, OBJECTS / ours.seconds[what], OBJECTS / bare.seconds[what]) for what in ours.seconds]


def main() -> None:
    """Measure everything and print a Markdown table."""
    folder = Path(tempfile.mkdtemp(prefix="bench-localcloud-"))
    home = folder / "cloud"
    try:
        rows = [("`up` in a new home, until it returns", f"{bench_up(folder):.0f} ms", "3,000 ms")]
        command(home, "up")
        client = Client(home)
        first = bench_first_line(client)
        rows.append(("CreateTrainingJob to the script's first line", f"{first:.0f} ms", "1,000 ms"))
        for what, ours, bare in bench_s3(client, folder):
            text = f"{ours / bare:.0%} ({ours:,.0f} of {bare:,.0f} a second)"
            rows.append((f"{OBJECTS:,} objects of 60 KB {what}, against bare rclone", text, "at least 80 %"))
        print("| what | measured | asked for |\n|---|---|---|")
        print("\n".join(f"| {what} | {measured} | {wanted} |" for what, measured, wanted in rows))
    finally:
        if home.exists():
            command(home, "down")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
