"""One picture per count with a few of its photos: the quickest way to see that labels and photos belong together."""

import base64
import heapq
import io
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from PIL import Image

from tasks.atomic_file import write_atomically
from tasks.data.catalog import read_usable
from tasks.data.jpeg import photo_errors
from tasks.data.workspace import Workspace, explain_disk_errors
from training.picture import decode, squash

COLUMNS, ROWS, SIDE = 6, 3, 112
MOST_SHEETS = 12
_GAP = 4


def write_contact_sheets(workspace: Workspace) -> dict[int, Path]:
    """Write ``reports/contact-sheet-<count>.jpg`` for every count, up to twelve counts; return the paths.

    Photos are chosen by their ids' checksum, so that the sheets change only when the data does.

    Raises:
        PhotoError: a photo that was whole when it was fetched cannot be read as training reads it.
    """
    with explain_disk_errors(workspace.folder):
        chosen = _choose(workspace)
        paths = {}
        for count in sorted(chosen)[:MOST_SHEETS]:
            photos = [workspace.photo(photo_id, count) for photo_id in chosen[count]]
            paths[count] = workspace.reports / f"contact-sheet-{count}.jpg"
            write_atomically(paths[count], _sheet(photos))
        for old in workspace.reports.glob("contact-sheet-*.jpg"):
            if old not in paths.values():
                old.unlink()
    return paths


def data_uri(path: Path) -> str:
    """Return a JPEG as a ``data:`` URI, which a browser shows without asking any server."""
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()


def _choose(workspace: Workspace) -> dict[int, list[str]]:
    best: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for rows in read_usable(workspace, ["id", "count"]):
        pairs: Any = zip(rows["id"].to_pylist(), rows["count"].to_pylist(), strict=True)
        for photo_id, count in pairs:
            entry = (-zlib.crc32(photo_id[::-1].encode()), photo_id)
            heap = best[count]
            if len(heap) < COLUMNS * ROWS:
                heapq.heappush(heap, entry)
            elif entry > heap[0]:
                heapq.heapreplace(heap, entry)
    return {count: [photo_id for _, photo_id in sorted(heap)] for count, heap in best.items()}


def _sheet(photos: list[Path]) -> bytes:
    step = SIDE + _GAP
    rows = -(-len(photos) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * step - _GAP, rows * step - _GAP), "white")
    for number, path in enumerate(photos):
        with photo_errors(path):
            picture = squash(decode(path.read_bytes(), SIDE), SIDE)
        sheet.paste(picture, (number % COLUMNS * step, number // COLUMNS * step))
    body = io.BytesIO()
    sheet.save(body, "JPEG", quality=80)
    return body.getvalue()
