"""Large objects to S3: how shards, archives, weights and manifests travel, over slow lines too."""

from pathlib import Path

import obstore

from tasks.data.fetch import transfer_errors
from tasks.object_store import LARGE_TRANSFER, open_store

PART = 5 * 2**20
"""Bytes of a part of what is put in parts, as everything larger is; their ETags depend on it, so it stays."""

PARTS_AT_ONCE = 2
"""Parts of an object on their way at once: all share the line, and each has the time limit of a request."""


def put_large(uri: str, body: bytes | Path) -> None:
    """Put one object, in parts where it is large, with the time limit of a large transfer for each part.

    Raises:
        TransferError: it could not be written this time.
        SourceError: S3 refuses, or there is no such bucket.
        ForbiddenObjectError: the object may not be written.
        CloudError: no credentials are found.
        SettingsError: the endpoint is neither https nor on this machine.
    """
    folder, _, name = uri.rpartition("/")
    with transfer_errors(uri):
        obstore.put(
            open_store(folder, timeout=LARGE_TRANSFER), name, body, chunk_size=PART, max_concurrency=PARTS_AT_ONCE
        )
