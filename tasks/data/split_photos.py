"""The photos of a split, fetched from S3 as they were uploaded: what evaluation and smoke tests look at."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import obstore
from pydantic import BaseModel, ConfigDict

from tasks.data.prepared_data import PreparedData, SplitName
from tasks.object_store import open_store
from training.errors import DataError

IN_FLIGHT = 32


class Photo(BaseModel):
    """One photo of a split, by its address."""

    model_config = ConfigDict(frozen=True)

    photo_id: str
    count: int
    key: str


def list_photos(data: PreparedData, split: SplitName) -> list[Photo]:
    """Every photo of a split, by id.

    Raises:
        DataError: the split is empty.
    """
    store = open_store(f"{data.uri}/{split}")
    keys = [entry["path"] for page in obstore.list(store) for entry in page]
    photos = [
        Photo(photo_id=path.stem, count=int(path.parts[-2]), key=f"{split}/{key}")
        for key in keys
        if (path := PurePosixPath(key)).suffix == ".jpg" and len(path.parts) >= 2
    ]
    if not photos:
        raise DataError(f"{data.uri}/{split}/ holds no photos: prepare more of them, or another split")
    return sorted(photos, key=lambda photo: photo.photo_id)


def fetch_photos(data: PreparedData, photos: list[Photo]) -> list[bytes]:
    """The bytes of photos, in their order, many at a time."""
    store = open_store(data.uri)
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return list(pool.map(lambda photo: bytes(obstore.get(store, photo.key).bytes()), photos))
