"""Renders a part of a plan and writes it to standard output as a tar stream of photos and records.

A program of its own (``python -m tasks.data.demo_photos.render``), so that a flow can render on every core without
copying its own process: ``PHOTOS SEED WORKER WORKERS``, and the ids that are already there on standard input.
"""

import argparse
import io
import json
import os
import sys
import tarfile

from tasks.data.demo_photos.contents import bin_contents, metadata_record
from tasks.data.demo_photos.plan import plan_photos
from tasks.data.demo_photos.scene import render_photo


def main() -> None:
    """Render the photos of every ``workers``-th bin, except those that are already there."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("photos", "seed", "worker", "workers"):
        parser.add_argument(name, type=int)
    arguments = parser.parse_args()
    there = set(sys.stdin.read().split())
    plan = plan_photos(arguments.photos, arguments.seed)
    # By bins, since photos of a bin share most of their drawing.
    mine = [photo for photo in plan if photo.bin % arguments.workers == arguments.worker]
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", bufsize=1 << 18) as tar:
        for photo in mine:
            if photo.id in there:
                continue
            contents = bin_contents(photo, arguments.seed)
            record = metadata_record(photo, contents, arguments.seed)
            _add(tar, f"metadata/{photo.id}.json", json.dumps(record, indent=4).encode())
            _add(tar, f"bin-images/{photo.id}.jpg", render_photo(photo, contents, arguments.seed))


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(body)
    tar.addfile(entry, io.BytesIO(body))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # whoever asked for the photos was killed
        os._exit(1)
