"""Copies, under short and plain names, of photos whose keys a transform job's manifest cannot name."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import obstore

from tasks.data.fetch import transfer_errors
from tasks.nightly.outcomes import GONE, Outcome
from tasks.nightly.photos import NightPhoto, copy_object, s3_client
from tasks.object_store import open_store
from tasks.settings import Settings
from training.errors import ForbiddenObjectError

COPIERS = 16


def copies_uri(run_id: str, settings: Settings) -> str:
    """Where the copies of a run are."""
    return f"s3://{settings.bucket}/{_folder(run_id)}"


def copy_name(photo: NightPhoto) -> str:
    """What the copy of a photo is called there."""
    return f"{photo.photo}.jpg"


def copy_photos(photos: Sequence[NightPhoto], run_id: str, settings: Settings) -> dict[str, Outcome]:
    """Copy photos on S3; returns what is to be said, by photo, of those that no job can count for want of a copy.

    Raises:
        SourceError: nothing may be read or copied at all.
        TransferError: S3 fails, or nothing answers.
    """
    client = s3_client()

    def copy(photo: NightPhoto) -> Outcome | None:
        try:
            copy_object(client, photo, settings.bucket, f"{_folder(run_id)}/{copy_name(photo)}")
        except FileNotFoundError:
            return Outcome(status="unreadable", reason=GONE)
        except ForbiddenObjectError as error:
            return Outcome(status="uncounted", reason=f"it cannot be copied for a job: {error}")
        return None

    with ThreadPoolExecutor(COPIERS) as pool:
        copied = zip(photos, pool.map(copy, photos), strict=True)
        return {photo.photo: outcome for photo, outcome in copied if outcome is not None}


def remove_copies(run_id: str, settings: Settings) -> None:
    """Delete the copies of a run."""
    uri = copies_uri(run_id, settings)
    store = open_store(uri)
    with transfer_errors(uri):
        names = [entry["path"] for page in obstore.list(store) for entry in page]
        if names:
            obstore.delete(store, names)


def _folder(run_id: str) -> str:
    return f"nightly/{run_id}/copies"
