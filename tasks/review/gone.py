"""Photos that left S3 before anybody counted them: they leave the queue too, and cost nobody's time."""

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.ledger.ledger import Ledger
from tasks.review.queue import Flagged, Scope, claim_next, leave_out, waiting

_LOOKERS = 16
_AT_ONCE = 200
log = logging.getLogger(__name__)


def next_photo(ledger: Ledger, reviewer: str, scope: Scope, client: Any, browser: str = "") -> Flagged | None:
    """Claim the next photo that is still on S3 for a reviewer; None when there is none.

    Where one is gone others may well be, as after a teardown: those that come next are looked for, too.
    """
    while item := claim_next(ledger, reviewer, scope, browser):
        if not _is_gone(client, item.row):
            return item
        rows = [other.row for other in waiting(ledger, reviewer, scope, _AT_ONCE, browser)]
        with ThreadPoolExecutor(_LOOKERS) as pool:
            looked = zip(rows, pool.map(partial(_is_gone, client), rows), strict=True)
            gone = sorted({item.row.photo, *(row.photo for row, is_gone in looked if is_gone)})
        leave_out(ledger, gone)
        log.warning("%d flagged photos are gone from S3, or were replaced, and left the queue", len(gone))
    return None


def _is_gone(client: Any, row: Any) -> bool:
    """Whether S3 says that a photo is not there, or is another one. A bucket that is not there says nothing of it."""
    try:
        # Not HEAD, whose answer does not tell a missing object from a missing bucket.
        found = client.get_object(Bucket=row.bucket, Key=row.key, Range="bytes=0-0")
    except ClientError as error:
        return error.response.get("Error", {}).get("Code") == "NoSuchKey"
    except BotoCoreError:
        return False
    found["Body"].close()
    return bool(found["ETag"].strip('"') != row.etag)
