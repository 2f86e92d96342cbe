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

_RECIPE = "recipe.json"
_PUTS_IN_FLIGHT = 8


def stage_demo_bucket(uri: str, *, photos: int, seed: int) -> int:
    """Make the bucket of ``uri`` hold exactly ``photos`` photos of ``seed``; return how many were rendered.

    What is there already stays; a bucket of another seed or renderer is emptied first. Killed at any
    moment, it picks up. The photos of a smaller number are the first of a larger one's.

    Raises:
        TransferError: the bucket is out of reach for now.
        DataError: the bucket refuses, or the renderer died.
    """
    ensure_bucket(uri)
    with transfer_errors(uri):
        return _stage(open_store(uri), photos, seed)


def _stage(store: ObjectStore, photos: int, seed: int) -> int:
    recipe = json.dumps({"renderer": RENDERER_VERSION, "seed": seed}).encode()
    plan = plan_photos(photos, seed)
    there = _clear_out(store, plan, same=_read(store, _RECIPE) == recipe)
    # The recipe goes first: whatever is in the bucket from here on was made by it.
    obstore.put(store, _RECIPE, recipe)
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


def _clear_out(store: ObjectStore, plan: list[PlannedPhoto], *, same: bool) -> set[str]:
    """Delete what the plan doesn't have; return the ids whose photo and record are both there."""
    wanted = {photo.id for photo in plan} if same else set()
    photos, records = set(), set()
    strangers = []
    for chunk in obstore.list(store, chunk_size=1000):
        for entry in chunk:
            path = Path(entry["path"])
            if path.stem not in wanted and path.name != _RECIPE:
                strangers.append(entry["path"])
            elif path.suffix == ".jpg":
                photos.add(path.stem)
            else:
                records.add(path.stem)
    strangers = [key for key in strangers if key != "file_list.json" or not same]
    if strangers:
        obstore.delete(store, strangers)
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
