"""What a stage does on S3: said here, not rehearsed, since its client is not botocore's and objects are many."""

from pydantic import BaseModel, ConfigDict, Field

from tasks.data.prepared_data import PrepareParameters
from tasks.settings import Settings


class Storage(BaseModel):
    """An operation on S3, on an object or on all below a prefix."""

    model_config = ConfigDict(frozen=True)

    operation: str = Field(description="As S3 names it.")
    uri: str
    what: str


def s3(operation: str, uri: str, what: str) -> Storage:
    """One operation."""
    return Storage(operation=operation, uri=uri, what=what)


def read(uri: str, what: str) -> list[Storage]:
    """A listing, and reading what is found."""
    return [s3("ListObjectsV2", uri, what), s3("GetObject", uri, "the same")]


def written(uri: str, what: str) -> list[Storage]:
    """An upload; large objects go in parts."""
    return [s3("PutObject", uri, what), s3("AbortMultipartUpload", uri, "where a large one breaks off")]


def bucket(uri: str) -> list[Storage]:
    """Make sure that a bucket is there."""
    return [s3("HeadBucket", uri, "is it there?"), s3("CreateBucket", uri, "only if it is not")]


def dataset_uri(parameters: PrepareParameters, settings: Settings) -> str:
    """Where a dataset lies."""
    return f"s3://{settings.bucket}/datasets/{parameters.dataset_name}"
