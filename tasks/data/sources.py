"""Where photos come from: a bucket in ABID's layout, real or rendered."""

import asyncio
from dataclasses import dataclass

import pyarrow as pa
from obstore.store import ObjectStore

from tasks.data.demo_photos.bucket import demo_folder, stage_demo_bucket
from tasks.data.demo_photos.plan import RENDERER_VERSION
from tasks.data.fetch import listing
from tasks.data.file_list import SCHEMA
from tasks.data.photo_ids import is_photo_id
from tasks.data.prepared_data import PrepareParameters
from tasks.object_store import check_bucket, open_store, split_uri
from training.errors import SourceError

ABID_BUCKET = "aft-vbi-pds"


@dataclass(frozen=True)
class Source:
    """A bucket with ``bin-images/<id>.jpg`` and ``metadata/<id>.json``, and the list that it comes with."""

    uri: str
    endpoint: str | None = None
    made_by: str = ""
    cloud: str = ""
    region: str | None = None

    @property
    def identity(self) -> str:
        """What tells this source's photos from another's of the same ids.

        A bucket's name says too little, since each cloud may have one; its own address would say too much, as the
        embedded cloud's port changes. The folders of one demo hold the same photos, more or fewer.
        """
        if self.made_by:
            return f"s3://{split_uri(self.uri)[0]} {self.made_by}"
        return f"{self.uri} {self.endpoint or self.cloud}".strip()

    def open(self) -> ObjectStore:
        """Open the bucket."""
        return open_store(self.uri, endpoint=self.endpoint, region=self.region)

    @property
    def file_list(self) -> str:
        """Where the bucket's own file list is, if it has one."""
        return f"{self.uri}/file_list.json"


def photo_key(photo_id: str) -> str:
    """Return the key of a photo in a source's bucket."""
    return f"bin-images/{photo_id}.jpg"


def metadata_key(photo_id: str) -> str:
    """Return the key of a photo's metadata in a source's bucket."""
    return f"metadata/{photo_id}.json"


def open_source(parameters: PrepareParameters, *, demo_bucket: str, cloud: str) -> Source:
    """Return the source that ``parameters`` name, ready to be read; the demo's photos are rendered first.

    Args:
        parameters: which source, and where it is if elsewhere than in ``cloud``.
        demo_bucket: the bucket for the demo's photos.
        cloud: the name of the cloud that answers, as ``BINVENTORY_TARGET`` has it.

    Raises:
        CloudError: no credentials, or nothing answers.
        DataError: the demo's bucket is somebody else's.
        SourceError: there is no such bucket, or no access to it.
    """
    if parameters.source == "demo":
        made_by = f"renderer {RENDERER_VERSION}, seed {parameters.seed}"
        what, bucket = {"photos": parameters.demo_photos, "seed": parameters.seed}, f"s3://{demo_bucket}"
        stage_demo_bucket(bucket, **what)
        return Source(demo_folder(bucket, **what), made_by=made_by)
    uri = f"s3://{ABID_BUCKET}" if parameters.source == "abid" else parameters.source
    region = check_bucket(uri, endpoint=parameters.source_endpoint)
    return Source(uri, parameters.source_endpoint, cloud=cloud, region=region)


def list_source(source: Source) -> pa.Table:
    """List every id with a file directly under ``metadata/``, as a file list that doesn't know the counts yet.

    Raises:
        SourceError: there is none, or the bucket may not be listed.
    """
    return asyncio.run(_list_source(source))


async def _list_source(source: Source) -> pa.Table:
    pages = []
    async for page in listing(source.open(), "metadata/"):
        names = [entry["path"].removeprefix("metadata/") for entry in page]  # what is deeper has a slash, as no id has
        ids = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        ids = [photo_id for photo_id in ids if is_photo_id(photo_id)]
        pages.append(pa.table({"id": ids, "listed_count": pa.nulls(len(ids), pa.int32())}, schema=SCHEMA))
    table = pa.concat_tables(pages or [SCHEMA.empty_table()])
    if table.num_rows == 0:
        raise SourceError(f"{source.uri} has no metadata/<id>.json: it isn't laid out as ABID is.")
    return table
