"""The photo that a reviewer looks at, or a picture that says why there is none."""

import io
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tasks.nightly.photos import read_object
from training.errors import PhotoError, SourceError, TransferError
from training.picture import decode

LARGEST_SIDE = 1280
_SIZE, _INK, _BACK = (960, 720), (159, 176, 195), (26, 35, 45)


def picture_of(row: Any, client: Any) -> tuple[bytes, int]:
    """Return a photo of the ledger as JPEG, with the HTTP status to answer.

    It is drawn anew: whatever else was in the file stays out of the browser.
    """
    try:
        picture = decode(read_object(client, row.bucket, row.key, row.etag), LARGEST_SIDE)
    except (FileNotFoundError, PhotoError):
        return _jpeg(_sign("This photo is gone, or was replaced.")), 404
    except (SourceError, TransferError):
        return _jpeg(_sign("S3 does not give this photo now.\nLoad the page again.")), 503
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BILINEAR)
    return _jpeg(picture), 200


def _sign(text: str) -> Image.Image:
    sign = Image.new("RGB", _SIZE, _BACK)
    middle = (_SIZE[0] / 2, _SIZE[1] / 2)
    ImageDraw.Draw(sign).text(middle, text, _INK, ImageFont.load_default(44), anchor="mm", align="center", spacing=18)
    return sign


def _jpeg(picture: Image.Image) -> bytes:
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=92)
    return body.getvalue()
