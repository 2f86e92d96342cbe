"""Photos that a pipeline held back, and the night over them: they test a model, and say nothing of a warehouse."""

import re
from typing import Any

from sqlalchemy import ColumnElement

_URI = re.compile(r"s3://[^/]+/nightly/[^/]+/held-back/")


def held_back_folder(run_id: str) -> str:
    """Where in the settings' bucket a run puts the photos that it held back, and their record."""
    return f"nightly/{run_id}/held-back"


def is_held_back(prefix: str) -> bool:
    """Whether the photos under an S3 URI are such."""
    return _URI.match(prefix) is not None


def held_back(column: Any, bucket_uri: str = "") -> ColumnElement[bool]:
    """The same in SQL, of a column with keys; with a bucket's URI, of one with URIs in that bucket."""
    found: ColumnElement[bool] = column.like(f"{bucket_uri and f'{bucket_uri}/'}{held_back_folder('%')}/%")
    return found
