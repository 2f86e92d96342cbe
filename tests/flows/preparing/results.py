"""What preparing data leaves, for tests."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.data.demo_photos.bucket import demo_folder
from tasks.data.prepared_data import PreparedData

Prepare = Callable[..., PreparedData]
RENDERED = demo_folder("binventory-demo", photos=90, seed=0)
"""Where the source's photos lie."""


def catalog(data: PreparedData) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(data.catalog).to_pylist()}


def everything(data: PreparedData, buckets: Path) -> dict[str, str]:
    """Digests of all results: here without ``state``, and on S3."""
    there = buckets / data.uri.removeprefix("s3://")
    found = {}
    for name, folder in (("here", data.folder), ("there", there)):
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            if path.is_file() and inside.parts[0] != "state":
                found[f"{name}/{inside}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
