"""How quick and how lean the data stage is: ``python -m benchmarks.bench_data [--ids 10000 200000]``.

Photos a second against the usual loop at 20 ms latency and against a bare obstore loop at none; memory and cost per
photo of the whole flow as the list grows; what Prefect adds. A few minutes on two idle cores; docs/data.md has the
figures.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import boto3
import obstore
import psutil
import pyarrow as pa

from benchmarks.endless_bucket import count_of
from tasks.data.chunk_processes import ChunkProcesses
from tasks.data.chunk_runner import WORKERS
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
from tests.tasks.bucket_server import running_server, serving

ROOT = Path(__file__).resolve().parents[1]
PHOTOS, LOOP_PHOTOS, WARM, IN_FLIGHT, TURNS = 8000, 150, 1000, 64, 5
MOST_COMPARED = 20_000
COMPARED = ("plain", "flow", "flow", "plain")
"""Each is first once, so that a machine that gets quicker or slower meanwhile favours neither."""
BUCKET = "bench-bins"


def main() -> None:
    """Measure everything, or (as a child) run the flow once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, nargs="*", default=[2_000, 10_000])
    parser.add_argument("--no-speed", action="store_true", help="only the whole flow")
    parser.add_argument("--photo", default=None, help="a JPEG that all photos are like; else 80 x 60 pixels")
    parser.add_argument("--shard-size", type=int, default=64)
    parser.add_argument("--child", choices=("flow", "plain"))
    parser.add_argument("--parameters")
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments.child, json.loads(arguments.parameters))
        return
    with tempfile.TemporaryDirectory() as scratch:
        if not arguments.no_speed:
            _photos_a_second(Path(scratch) / "speed")
        for number in arguments.ids or []:
            _whole_flow(Path(scratch) / f"flow-{number}", number, arguments.photo, arguments.shard_size)


def _photos_a_second(folder: Path) -> None:
    ids = _render(folder / "buckets" / BUCKET)
    os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench", AWS_REGION="us-east-1")  # noqa: S106
    with serving(folder / "buckets", "--latency", "0.02") as endpoint, _workers(endpoint) as workers:
        usual = LOOP_PHOTOS / _seconds(lambda: _usual_loop(ids[:LOOP_PHOTOS], folder / "usual"))
        _ours(ids[:WARM], folder / "warm", workers)
        ours = len(ids) / min(_seconds(partial(_ours, ids, folder / f"ours-{n}", workers)) for n in range(TURNS))
        print(f"20 ms latency: boto3 loop {usual:.0f}/s, ours {ours:.0f}/s: {ours / usual:.1f} times")
    with serving_s3(folder / "buckets") as variables, _workers(**variables) as workers:
        _ours(ids[:WARM], folder / "warm-local", workers)
        spent: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
        for turn in range(TURNS):  # taking turns, so that a busy moment of the machine meets both
            spent["bare"].append(_cost(partial(_run_bare, ids, folder / f"bare-{turn}")))
            spent["ours"].append(_cost(partial(_ours, ids, folder / f"local-{turn}", workers)))
        costs = [[median(values) for values in zip(*spent[name], strict=True)] for name in ("bare", "ours")]
        (bare_wall, bare_processor), (wall, processor) = costs
        print(
            f"no latency, medians of {TURNS} turns: bare obstore loop {len(ids) / bare_wall:.0f}/s, "
            f"ours {len(ids) / wall:.0f}/s: {bare_wall / wall:.0%}; "
            f"processor time a photo, the server's included: {1e3 * bare_processor / len(ids):.2f} ms, "
            f"{1e3 * processor / len(ids):.2f} ms: {bare_processor / processor:.0%}"
        )


@contextmanager
def _workers(endpoint: str = "", **variables: str) -> Iterator[ChunkProcesses]:
    """Processes for chunks, which read from this S3."""
    os.environ.update({"AWS_ENDPOINT_URL_S3": endpoint} | variables)
    with tempfile.TemporaryFile() as lock, ChunkProcesses(lock.fileno()) as workers:
        yield workers


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cost(work: Callable[[], Any]) -> tuple[float, float]:
    """Return seconds on the wall, and of processor time in this process and all that it started."""
    before = _processor_seconds()
    return _seconds(work), _processor_seconds() - before


def _processor_seconds() -> float:
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(each.user + each.system for each in times)


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


def _ours(ids: list[str], folder: Path, workers: ChunkProcesses) -> None:
    """Fetch, check and file, as the flow's chunk tasks do, two at a time, in processes that are up."""
    workspace = Workspace(folder)
    workspace.state.mkdir(parents=True)
    write_listing(workspace, pa.table({"id": ids, "listed_count": [1] * len(ids)}, schema=SCHEMA))
    source = Source(f"s3://{BUCKET}")
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda chunk: workers.call(fetch_photos, chunk, source), split_into_chunks(workspace)))
    assert sum(count.downloaded for count in counts) == len(ids)


def _whole_flow(folder: Path, number: int, photo: str | None, shard_size: int) -> None:
    """Run the flow, and the same functions without Prefect, each in a process of its own."""
    (folder / "buckets").mkdir(parents=True)
    file_list = folder / "file_list.json"
    file_list.write_text(json.dumps({c: [f"data/metadata/{i}.json" for i in _ids(c, number)] for c in range(1, 6)}))
    command = [sys.executable, "-m", "benchmarks.endless_bucket", *([photo] if photo else [])]
    with running_server(command) as endpoint, serving_s3(folder / "buckets") as variables:
        parameters = {
            "source": f"s3://{BUCKET}",
            "source_endpoint": endpoint,
            "file_list": str(file_list),
            "shard_size": shard_size,
        }
        found: dict[str, list[dict[str, float]]] = {"flow": [], "plain": []}
        for turn, kind in enumerate(COMPARED if number <= MOST_COMPARED else ("flow",)):
            told = subprocess.run(
                [sys.executable, "-m", "benchmarks.bench_data"]  # noqa: RUF005
                + ["--child", kind, "--parameters", json.dumps(parameters | {"dataset": f"{kind}-{turn}"})],
                cwd=ROOT,
                env=os.environ
                | variables
                | {"BINVENTORY_HOME": str(folder / f"{kind}-{turn}"), "PREFECT_LOGGING_LEVEL": "ERROR"},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            found[kind].append(json.loads(told.stdout.splitlines()[-1]))
    flow, plain = (_medians(found[kind]) for kind in ("flow", "plain"))
    print(
        f"{number} ids: flow {flow['seconds']:.1f} s ({1e3 * flow['seconds'] / number:.2f} ms a photo; "
        f"{1e3 * flow['processor'] / number:.2f} ms of processor time), {flow['megabytes']:.0f} MB at most with "
        f"{WORKERS} workers; again, nothing changed: {flow['again']:.1f} s",
        flush=True,
    )
    if plain:
        server = flow["server"] / plain["processor"]
        print(
            f"  without Prefect {plain['seconds']:.1f} s, {plain['megabytes']:.0f} MB; Prefect adds "
            f"{flow['seconds'] / plain['seconds'] - 1:.1%} of time on the wall, "
            f"{flow['processor'] / plain['processor'] - 1:.1%} of processor time in our processes and "
            f"{server:.1%} in its server; medians of {len(found['flow'])} runs each",
            flush=True,
        )


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(run[name] for run in runs) for name in (runs[0] if runs else ())}


def _ids(count: int, number: int) -> Iterator[int]:
    """Return the ids, 1 to ``number``, whose bins hold ``count`` things."""
    return (i for i in range(1, number + 1) if count_of(i) == count)


def _child(kind: str, parameters: dict[str, Any]) -> None:
    import flows.prepare_data
    from tasks.data.prepared_data import PrepareParameters
    from tasks.services import leave, use_prefect_server
    from tasks.settings import settings

    setattr(flows.prepare_data, "use_cloud", lambda _: None)  # noqa: B010 - the parent's servers are the cloud
    given = PrepareParameters(**parameters)
    again = server = 0.0
    if kind == "flow":
        use_prefect_server(settings())
        # The first run of a flow in a process warms Prefect up; it isn't what is measured. It has more than one chunk,
        # as the one that is measured has, so that no more is loaded into this process than a long list needs.
        flows.prepare_data.prepare_data(given.model_copy(update={"dataset": "warm", "limit": 1000}))
        with _Memory() as memory:
            before, before_server = _own_processor_seconds(), _server_seconds(settings().home)
            seconds = _seconds(lambda: flows.prepare_data.prepare_data(given))
            processor = _own_processor_seconds() - before
            server = _server_seconds(settings().home) - before_server
        again = _seconds(lambda: flows.prepare_data.prepare_data(given))
        leave(settings())
    else:
        with _Memory() as memory:
            before = _own_processor_seconds()
            seconds = _seconds(lambda: _plain(given))
            processor = _own_processor_seconds() - before
    found = {"seconds": seconds, "processor": processor, "server": server, "again": again}
    print(json.dumps(found | {"megabytes": memory.peak / 2**20}))


def _own_processor_seconds() -> float:
    """Return the processor time of this process and its chunk workers, those that have ended included."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _server_seconds(home: Path) -> float:
    """Return the processor time of the Prefect server that this home has started."""
    server = psutil.Process(json.loads((home / "prefect/server.json").read_text())["pid"])
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return sum(each.user + each.system for each in times)


class _Memory:
    """Watches what this process and its chunk workers hold, shared pages counted once; Prefect's server is not ours."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)

    def __enter__(self) -> "_Memory":
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.5):
            held = 0
            for process in (me, *me.children()):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                    if process == me or "tasks.data.chunk_worker" in process.cmdline():
                        held += process.memory_full_info().pss
            self.peak = max(self.peak, held)


def _plain(given: Any) -> None:
    """The flow's steps as plain functions, chunks on as many threads and processes as in the flow."""
    from tasks.data import contact_sheet, listing_stage, manifest, metadata_stage, shards, upload, whole_list
    from tasks.data.tidy import tidy
    from tasks.object_store import ensure_bucket
    from tasks.settings import settings

    here = settings()
    name = given.dataset_name
    workspace, uri = Workspace(here.home / "data" / name), f"s3://{here.bucket}/datasets/{name}"
    source = Source(given.source, given.source_endpoint)
    with workspace.in_use() as lock, ThreadPoolExecutor(WORKERS) as pool, ChunkProcesses(lock) as workers:

        def each(function: Callable[..., Any], parts: list[Any], *arguments: Any) -> None:
            for call in [pool.submit(workers.call, function, part, *arguments) for part in parts]:
                call.result()

        ensure_bucket(uri)
        workers.call(listing_stage.write_initial_listing, workspace, source, given)
        chunks = split_into_chunks(workspace)
        each(metadata_stage.fetch_metadata, chunks, source)
        workers.call(tidy, workspace)
        each(fetch_photos, chunks, source)
        workers.call(whole_list.catalog_and_split, workspace, uri, given)
        workers.call(contact_sheet.write_contact_sheets, workspace)
        each(shards.write_pack, workers.call(shards.plan_shards, workspace, given.shard_size))
        plan = workers.call(whole_list.plan_upload, workspace, uri)
        each(upload.put_objects, plan.uploads)
        recipe = manifest.Recipe(name, given.source, 0, "grouped", given.shard_size)
        workers.call(whole_list.seal, workspace, uri, recipe, plan.to_delete)


if __name__ == "__main__":
    main()
