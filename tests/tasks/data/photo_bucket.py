"""A source's bucket on disk, served by a real server, and a workspace that reads from it."""

import io
import json
from pathlib import Path

import pyarrow as pa
from PIL import Image

from tasks.data.catalog import join_partition
from tasks.data.chunks import Chunk, split_into_chunks, write_listing
from tasks.data.file_list import SCHEMA
from tasks.data.metadata_stage import fetch_metadata
from tasks.data.photo_ids import PARTITIONS
from tasks.data.photos import fetch_photos
from tasks.data.sources import Source
from tasks.data.tidy import tidy
from tasks.data.workspace import Workspace
from tests.tasks.data.odd_server import ODD


def a_photo(shade: int = 90) -> bytes:
    body = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).point(lambda v: v ^ shade).convert("RGB").save(body, "JPEG")
    return body.getvalue()


class Bucket:
    """A source's bucket on disk, and a workspace that reads from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "served"
        self.log = folder / "gets.log"
        self.workspace = Workspace(folder / "dataset")
        self.workspace.state.mkdir(parents=True)
        self.source = Source("s3://bins")
        for name in ("bin-images", "metadata"):
            (self.folder / "bins" / name).mkdir(parents=True)

    def put(self, photo_id: str, count: int, body: bytes | None = None) -> None:
        record = {"BIN_FCSKU_DATA": {"B": {"asin": "B", "quantity": count}}, "EXPECTED_QUANTITY": count}
        (self.folder / "bins/metadata" / f"{photo_id}.json").write_text(json.dumps(record))
        photo = self.folder / "bins/bin-images" / f"{photo_id}.jpg"
        photo.write_bytes(a_photo(int(photo_id)) if body is None else body)

    def remove(self, kind: str, name: str) -> None:
        (self.folder / "bins" / kind / name).unlink()

    def odd(self, **how: str) -> None:
        """Make the server treat keys, or everything in a folder, oddly: see `odd_server`."""
        (self.folder / ODD).write_text(json.dumps(how))

    def listed(self, **counts: int) -> Chunk:
        rows = {"id": [k.removeprefix("_") for k in counts], "listed_count": list(counts.values())}
        write_listing(self.workspace, pa.table(rows, schema=SCHEMA))
        (chunk,) = split_into_chunks(self.workspace)
        return chunk

    def fetch(self, chunk: Chunk, **options: bool) -> dict[str, str]:
        """Fetch everything; returns each photo's status and reason."""
        fetch_metadata(chunk, self.source, **options)
        tidy(self.workspace)
        self.counts = fetch_photos(chunk, self.source, **options)
        rows = [row for p in range(PARTITIONS) for row in join_partition(self.workspace, p).to_pylist()]
        self.rows = {row["id"]: row for row in rows}
        return {row["id"]: " ".join(filter(None, (row["status"], row["reason"]))) for row in rows}

    def gets(self) -> list[str]:
        """What was fetched since the last time."""
        keys = self.log.read_text().split() if self.log.exists() else []
        self.log.write_text("")
        return sorted(keys)

    def files(self) -> list[str]:
        folder = self.workspace.folder
        found = [path for name in ("train_data", "quarantine") for path in (folder / name).rglob("*")]
        return sorted(str(path.relative_to(folder)) for path in found if path.is_file())
