"""How quick and how lean the data stage is: ``python -m benchmarks.bench_data [--ids 10000 200000]``.

Photos a second against the usual loop at 20 ms latency and against a bare obstore loop at none; memory and cost per
photo of the whole flow as the list grows; what Prefect adds. A few minutes on two idle cores; docs/data.md has the
figures.
"""

import argparse
import asyncio
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import obstore
import pyarrow as pa
from PIL import Image

from tasks.data.chunks import split_into_chunks, write_listing
from tasks.data.demo_photos.contents import bin_contents
from tasks.data.demo_photos.plan import plan_photos
from tasks.data.demo_photos.scene import render_photo
from tasks.data.file_list import SCHEMA
from tasks.data.photos import fetch_photos
from tasks.data.sources import Source, photo_key
from tasks.data.workspace import Workspace
from tasks.object_store import open_store
from tests.s3_server import serving_s3
from tests.tasks.bucket_server import serving

ROOT = Path(__file__).resolve().parents[1]
PHOTOS, LOOP_PHOTOS, IN_FLIGHT, TURNS = 3000, 150, 64, 3
BUCKET = "bench-bins"


def main() -> None:
    """Measure everything, or (as a child) run the flow once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, nargs="*", default=[2_000, 10_000])
    parser.add_argument("--child", choices=("flow", "plain"))
    parser.add_argument("--parameters")
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments.child, json.loads(arguments.parameters))
        return
    with tempfile.TemporaryDirectory() as scratch:
        _photos_a_second(Path(scratch) / "speed")
        for number in arguments.ids:
            _whole_flow(Path(scratch) / f"flow-{number}", number)


def _photos_a_second(folder: Path) -> None:
    ids = _render(folder / "buckets" / BUCKET)
    os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench", AWS_REGION="us-east-1")  # noqa: S106
    with serving(folder / "buckets", "--latency", "0.02") as endpoint:
        os.environ["AWS_ENDPOINT_URL_S3"] = endpoint
        usual = LOOP_PHOTOS / _seconds(lambda: _usual_loop(ids[:LOOP_PHOTOS], folder / "usual"))
        ours = len(ids) / min(_seconds(partial(_ours, ids, folder / f"ours-{n}")) for n in range(TURNS))
        print(f"20 ms latency: boto3 loop {usual:.0f}/s, ours {ours:.0f}/s: {ours / usual:.1f} times")
    with serving_s3(folder / "buckets") as variables:
        os.environ.update(variables)
        bare, ours = 0.0, 0.0
        for turn in range(TURNS):  # taking turns, so that a busy moment of the machine meets both
            bare = max(bare, len(ids) / _seconds(partial(_run_bare, ids, folder / f"bare-{turn}")))
            ours = max(ours, len(ids) / _seconds(partial(_ours, ids, folder / f"local-{turn}")))
        print(f"no latency: bare obstore loop {bare:.0f}/s, ours {ours:.0f}/s: {ours / bare:.0%}")


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _render(bucket: Path) -> list[str]:
    (bucket / "bin-images").mkdir(parents=True)
    plan = plan_photos(PHOTOS, 0)
    few = [render_photo(photo, bin_contents(photo, 0), 0) for photo in plan[:200]]
    for number, photo in enumerate(plan):
        (bucket / photo_key(photo.id)).write_bytes(few[number % len(few)])
    return [photo.id for photo in plan]


def _usual_loop(ids: list[str], folder: Path) -> None:
    folder.mkdir()
    client = boto3.client("s3")
    for photo_id in ids:
        client.download_file(BUCKET, photo_key(photo_id), str(folder / f"{photo_id}.jpg"))


async def _bare(ids: list[str], folder: Path) -> None:
    """Download as plainly as can be: get, write, no checks."""
    folder.mkdir()
    store, rest = open_store(f"s3://{BUCKET}"), iter(ids)

    async def worker() -> None:
        for photo_id in rest:
            body = await (await obstore.get_async(store, photo_key(photo_id))).bytes_async()
            (folder / f"{photo_id}.jpg").write_bytes(body)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def _run_bare(ids: list[str], folder: Path) -> None:
    asyncio.run(_bare(ids, folder))


def _ours(ids: list[str], folder: Path) -> None:
    """Fetch, check and file, as the flow's chunk tasks do, two at a time."""
    workspace = Workspace(folder)
    workspace.state.mkdir(parents=True)
    write_listing(workspace, pa.table({"id": ids, "listed_count": [1] * len(ids)}, schema=SCHEMA))
    source = Source(f"s3://{BUCKET}")
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda chunk: fetch_photos(chunk, source), split_into_chunks(workspace)))
    assert sum(count.downloaded for count in counts) == len(ids)


def _whole_flow(folder: Path, number: int) -> None:
    """Run the flow, and the same functions without Prefect, each in a process of its own."""
    _synthetic(folder / "source" / BUCKET, number)
    (folder / "buckets").mkdir()
    with serving(folder / "source") as endpoint, serving_s3(folder / "buckets") as variables:
        parameters = {
            "source": f"s3://{BUCKET}",
            "source_endpoint": endpoint,
            "file_list": str(folder / "source" / BUCKET / "file_list.json"),
            "shard_size": 64,
        }
        found = {}
        for kind in ("plain", "flow"):
            told = subprocess.run(
                [sys.executable, "-m", "benchmarks.bench_data"]  # noqa: RUF005
                + ["--child", kind, "--parameters", json.dumps(parameters | {"dataset": kind})],
                cwd=ROOT,
                env=os.environ | variables | {"BINVENTORY_HOME": str(folder / kind), "PREFECT_LOGGING_LEVEL": "ERROR"},
                check=True,
                capture_output=True,
                text=True,
            )
            found[kind] = json.loads(told.stdout.splitlines()[-1])
    flow, plain = found["flow"], found["plain"]
    print(
        f"{number} ids: flow {flow['seconds']:.1f} s ({1e3 * flow['seconds'] / number:.2f} ms a photo), "
        f"{flow['megabytes']:.0f} MB at most; without Prefect {plain['seconds']:.1f} s, {plain['megabytes']:.0f} MB; "
        f"Prefect adds {flow['seconds'] / plain['seconds'] - 1:.1%}; again, nothing changed: {flow['again']:.1f} s"
    )


def _synthetic(bucket: Path, number: int) -> None:
    """Write ``number`` tiny photos, all different, with records in before/after pairs."""
    for name in ("bin-images", "metadata"):
        (bucket / name).mkdir(parents=True)
    body = io.BytesIO()
    Image.linear_gradient("L").resize((80, 60)).convert("RGB").save(body, "JPEG")
    listed: dict[str, list[str]] = {}
    for i in range(1, number + 1):
        count = 1 + i % 5
        (bucket / f"bin-images/{i}.jpg").write_bytes(body.getvalue() + str(i).encode())
        sku = {"asin": f"B{i // 2:09d}", "name": "A thing in a box", "quantity": count}
        record = {"BIN_FCSKU_DATA": {sku["asin"]: sku}, "EXPECTED_QUANTITY": count}
        (bucket / f"metadata/{i}.json").write_text(json.dumps(record))
        listed.setdefault(str(count), []).append(f"data/metadata/{i}.json")
    (bucket / "file_list.json").write_text(json.dumps(listed))


def _child(kind: str, parameters: dict[str, Any]) -> None:
    from prefect.testing.utilities import prefect_test_harness

    import flows.prepare_data
    from tasks.data.prepared_data import PrepareParameters

    setattr(flows.prepare_data, "use_cloud", lambda _: None)  # noqa: B010 - the parent's servers are the cloud
    given = PrepareParameters(**parameters)
    if kind == "flow":
        with prefect_test_harness(server_startup_timeout=120):
            # The first run of a flow in a process warms Prefect up; it isn't what is measured.
            flows.prepare_data.prepare_data(given.model_copy(update={"dataset": "warm", "limit": 50}))
            seconds = _seconds(lambda: flows.prepare_data.prepare_data(given))
            again = _seconds(lambda: flows.prepare_data.prepare_data(given))
    else:
        seconds, again = _seconds(lambda: list(_plain(given))), 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "again": again, "megabytes": peak}))


def _plain(given: Any) -> Iterator[None]:
    """The flow's steps as plain functions, chunks two at a time."""
    from tasks.data import contact_sheet, grouping, listing_stage, manifest, metadata_stage, shards, upload
    from tasks.data.catalog import write_catalog
    from tasks.data.tidy import tidy
    from tasks.object_store import ensure_bucket
    from tasks.settings import settings

    here = settings()
    workspace, uri = Workspace(here.home / "data/plain"), f"s3://{here.bucket}/datasets/plain"
    source = Source(given.source, given.source_endpoint)
    with workspace.in_use(), ThreadPoolExecutor(2) as pool:
        ensure_bucket(uri)
        listing_stage.write_initial_listing(workspace, source, given)
        chunks = split_into_chunks(workspace)
        yield from (None for _ in pool.map(lambda c: metadata_stage.fetch_metadata(c, source), chunks))
        tidy(workspace)
        yield from (None for _ in pool.map(lambda c: fetch_photos(c, source), chunks))
        found = grouping.group_photos(workspace)
        split = grouping.split_photos(workspace, found, "grouped", 0)
        write_catalog(workspace, found.groups, found.duplicate_of, split.splits)
        contact_sheet.write_contact_sheets(workspace)
        yield from (None for _ in pool.map(shards.write_pack, shards.plan_shards(workspace, given.shard_size)))
        plan = upload.plan_upload(workspace, uri, shards.shard_files(workspace))
        yield from (None for _ in pool.map(upload.put_objects, plan.uploads))
        recipe = manifest.Recipe("plain", given.source, 0, "grouped", given.shard_size)
        manifest.write_manifest(workspace, recipe, shards.shard_files(workspace))
        manifest.upload_manifest(workspace, uri)


if __name__ == "__main__":
    main()
