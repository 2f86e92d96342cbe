"""Puts rendered photos into a bucket in ABID's layout: bin-images/, metadata/ and a file_list.json."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO

import obstore
from obstore.store import ObjectStore

from tasks.data.demo_photos.plan import RENDERER_VERSION, PlannedPhoto, plan_photos
from tasks.data.fetch import transfer_errors
from tasks.object_store import ensure_bucket, open_store
from training.errors import DataError

LISTED_COUNTS = range(1, 6)
"""Counts that the demo's file_list.json lists: those of the course."""

_MARKER = "recipe.json"
"""Says that the bucket is the demo's; it is the first object there. Earlier versions wrote more into it."""

_PUTS_IN_FLIGHT = 8


def demo_folder(bucket: str, *, photos: int, seed: int) -> str:
    """Return where in ``bucket`` the demo's photos of this number and seed lie.

    Runs of other numbers or seeds have folders of their own, so that none takes away what another is fetching.
    """
    return f"{bucket}/renderer-{RENDERER_VERSION}-seed-{seed}-photos-{photos}"


def stage_demo_bucket(bucket: str, *, photos: int, seed: int) -> int:
    """Make ``demo_folder`` hold ``photos`` photos of ``seed``; return how many were rendered.

    What is there already stays, and nothing is ever deleted. Killed at any moment, it picks up.

    Raises:
        TransferError: the bucket is out of reach for now.
        DataError: the bucket refuses, holds somebody else's objects, or the renderer died.
    """
    ensure_bucket(bucket)
    with transfer_errors(bucket):
        _claim(bucket)
        return _stage(open_store(demo_folder(bucket, photos=photos, seed=seed)), photos, seed)


def _claim(bucket: str) -> None:
    """Mark an empty bucket as the demo's; one with objects has to be marked."""
    store = open_store(bucket)
    # Looked at first: whoever sees an object of a run beside this one sees its marker too.
    holds_objects = any(obstore.list(store, chunk_size=1))
    if _read(store, _MARKER) is not None:
        return
    if holds_objects:
        raise DataError(
            f"{bucket} is where the demo's rendered photos go, but it holds objects that the demo did not put there. "
            "Nothing in it was changed. Set BINVENTORY_BUCKET to another name; the demo's bucket is that and '-demo'."
        )
    obstore.put(store, _MARKER, json.dumps({"renderer": RENDERER_VERSION}).encode())


def _stage(store: ObjectStore, photos: int, seed: int) -> int:
    plan = plan_photos(photos, seed)
    there = _whole(store)
    rendered = _render_into(store, photos, seed, there) if len(there) < photos else 0
    listing = json.dumps(demo_file_list(plan)).encode()
    if _read(store, "file_list.json") != listing:
        obstore.put(store, "file_list.json", listing)
    return rendered


def demo_file_list(plan: list[PlannedPhoto]) -> dict[str, list[str]]:
    """Return the list of ``plan``'s photos in the course's format, with the course's counts only."""
    return {
        str(count): [f"data/metadata/{photo.id}.json" for photo in plan if photo.count == count]
        for count in LISTED_COUNTS
    }


def _read(store: ObjectStore, key: str) -> bytes | None:
    try:
        return bytes(obstore.get(store, key).bytes())
    except FileNotFoundError:
        return None


def _whole(store: ObjectStore) -> set[str]:
    """Return the ids whose photo and record are both there."""
    keys = [Path(entry["path"]) for page in obstore.list(store, chunk_size=1000) for entry in page]
    photos, records = ({key.stem for key in keys if key.suffix == suffix} for suffix in (".jpg", ".json"))
    return photos & records


def _render_into(store: ObjectStore, photos: int, seed: int, there: set[str]) -> int:
    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers, "demo-photos") as pool:
        parts = [pool.submit(_render_part, store, photos, seed, (worker, workers), there) for worker in range(workers)]
        return sum(part.result() for part in as_completed(parts))


def _render_part(store: ObjectStore, photos: int, seed: int, part: tuple[int, int], there: set[str]) -> int:
    """Start one renderer and put what it writes into the store; return how many photos it rendered."""
    command = [sys.executable, "-m", "tasks.data.demo_photos.render", *map(str, (photos, seed, *part))]
    root = Path(__file__).resolve().parents[3]
    with (
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as renderer,
        ThreadPoolExecutor(_PUTS_IN_FLIGHT, f"demo-put-{part[0]}") as putters,
    ):
        assert renderer.stdin is not None  # noqa: S101 - both are pipes
        assert renderer.stdout is not None  # noqa: S101
        renderer.stdin.write(" ".join(there).encode())
        renderer.stdin.close()
        entries = 0
        pending = set()
        for name, body in _entries(renderer.stdout):
            pending.add(putters.submit(obstore.put, store, name, body))
            entries += 1
            if len(pending) >= 4 * _PUTS_IN_FLIGHT:
                done = {put for put in pending if put.done()} or {next(as_completed(pending))}
                pending -= done
                for put in done:
                    put.result()
        for put in pending:
            put.result()
        if renderer.wait() != 0:
            raise DataError(f"The renderer of demo photos ended with exit code {renderer.returncode}.")
    return entries // 2


def _entries(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for entry in tar:
            content = tar.extractfile(entry)
            if content is not None:
                yield entry.name, content.read()
