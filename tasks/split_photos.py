"""The photos of a split, fetched from S3 as they were uploaded: what evaluation and smoke tests look at."""

import asyncio
from pathlib import PurePosixPath

import obstore
from pydantic import BaseModel, ConfigDict

from tasks.object_store import open_store
from tasks.prepared_data import PreparedData, SplitName
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

    async def all_of_them() -> list[bytes]:
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(photo: Photo) -> bytes:
            async with gate:
                answer = await obstore.get_async(store, photo.key)
                return bytes(await answer.bytes_async())

        return list(await asyncio.gather(*(one(photo) for photo in photos)))

    return asyncio.run(all_of_them())
