"""What a photo of a whole night costs: ``python -m benchmarks.bench_nights [--photos 500 5000 20000]``.

Nights of rendered photos through the real flow, a Prefect server and the embedded cloud, beside `benchmarks.bare_loop`.
Both get the same cores, and take turns.
"""

import argparse
import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from benchmarks.bare_loop import bare
from benchmarks.bench_serving import save
from flows.nightly_count import nightly_count
from tasks.code_archive import pack, serving_code
from tasks.data.demo_photos.contents import bin_contents, metadata_record
from tasks.data.demo_photos.plan import PlannedPhoto, plan_photos
from tasks.data.demo_photos.scene import render_photo
from tasks.nightly.parameters import NightParameters
from tasks.object_store import ensure_bucket
from tasks.release.package import container_environment
from tasks.release.registry import Registration, register
from tasks.services import leave, use_cloud, use_prefect_server
from tasks.settings import Settings, settings
from training.files import CARD_FILE, WEIGHTS_FILE
from training.hyperparameters import preset

DISTINCT, BARE = 300, 1000


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[500, 5_000])
    parser.add_argument("--size", type=int, default=preset().image_size, help="side of the network's input")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, services(Path(scratch) / "home") as here:
        saved = save(Path(scratch) / "model", "float32", arguments.size)
        _approve(saved, here)
        rendered = [(photo, render_photo(photo, bin_contents(photo, 0), 0)) for photo in plan_photos(DISTINCT, 0)]
        photos = [body for _, body in rendered]
        _night(rendered, 100, here)  # Prefect and the cloud warm up
        for number in arguments.photos:
            before = bare(saved, photos, BARE)
            seconds = _night(rendered, number, here)
            rate = (before + bare(saved, photos, BARE)) / 2
            print(
                f"{number} photos: {seconds:.1f} s, {1e3 * seconds / number:.1f} ms a photo; bare loop "
                f"{1e3 / rate:.1f} ms: {number / seconds / rate:.0%} of its photos a second",
                flush=True,
            )


@contextmanager
def services(home: Path) -> Iterator[Settings]:
    """A Prefect server and the embedded cloud of a home folder, for as long as something is measured, and quiet."""
    os.environ.update(BINVENTORY_HOME=str(home), PREFECT_LOGGING_LEVEL="ERROR", OMP_WAIT_POLICY="PASSIVE")
    logging.disable(logging.WARNING)
    here = settings()
    use_prefect_server(here)
    use_cloud(here)
    try:
        yield here
    finally:
        leave(here)


def _approve(saved: Path, here: Settings) -> None:
    """Register the model as the pipeline would: an approved one is what nights count with."""
    ensure_bucket(f"s3://{here.bucket}")
    files = {file: (saved / file).read_bytes() for file in (WEIGHTS_FILE, CARD_FILE)}
    boto3.client("s3").put_object(Bucket=here.bucket, Key="models/bench.tar.gz", Body=pack(files | serving_code()))
    registration = Registration(
        name=f"bench-{uuid.uuid4().hex[:6]}",
        uri=f"s3://{here.bucket}/models/bench.tar.gz",
        image="pytorch-inference",
        environment=container_environment(here),
        evaluation_uri=f"s3://{here.bucket}/evaluation.json",
        facts={"run_id": "bench"},
    )
    register(registration, "Approved", "a benchmark says so", here)


def _night(rendered: list[tuple[PlannedPhoto, bytes]], number: int, here: Settings) -> float:
    """Put so many photos under a prefix of their own and count them; returns the seconds that counting took."""
    client, bucket = boto3.client("s3"), f"night-{number}"
    ensure_bucket(f"s3://{bucket}")
    folder = here.home / "localcloud" / "s3" / bucket  # buckets are folders, and putting photos isn't what is measured
    for part in ("bin-images", "metadata"):
        (folder / part).mkdir()
    for copy in range(number):
        photo, body = rendered[copy % len(rendered)]
        name = f"{1_000_000 + 10 * copy}"
        (folder / f"bin-images/{name}.jpg").write_bytes(body)
        record = metadata_record(photo, bin_contents(photo, 0), 0)
        (folder / f"metadata/{name}.json").write_text(json.dumps(record))
    assert client.list_objects_v2(Bucket=bucket, MaxKeys=1)["KeyCount"]
    start = time.perf_counter()
    nightly_count(NightParameters(prefix=f"s3://{bucket}/bin-images/"))
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
