"""Whole photos pass, and every way of not being one is told apart."""

import io
import struct
from typing import Any

import pytest
from PIL import Image

from tasks.data.jpeg import BadPhotoError, PhotoSize, check_jpeg


def a_photo(width: int = 120, height: int = 80, kind: str = "JPEG", **options: Any) -> bytes:
    picture = Image.effect_noise((width, height), 60).convert("RGB")
    body = io.BytesIO()
    picture.save(body, kind, **options)
    return body.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 20}])
def test_a_whole_photo_passes(options: dict[str, Any]) -> None:
    assert check_jpeg(a_photo(**options)) == PhotoSize(120, 80)


def reason_of(body: bytes) -> str:
    with pytest.raises(BadPhotoError) as caught:
        check_jpeg(body)
    return caught.value.reason


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_cut_anywhere_is_found(progressive: bool) -> None:
    whole = a_photo(progressive=progressive)
    reasons = {reason_of(whole[:length]) for length in range(1, len(whole) - 2, 97)}
    assert reasons <= {"truncated", "not_jpeg"}
    assert reason_of(whole[: len(whole) * 9 // 10]) == "truncated"


def test_other_files_are_told_apart() -> None:
    assert reason_of(b"") == "empty"
    assert reason_of(a_photo(kind="PNG")) == "not_jpeg"
    assert reason_of(b"<Error><Code>AccessDenied</Code></Error>") == "not_jpeg"
    assert reason_of(b"\xff\xd8\xff\xe0 but nothing else") == "not_jpeg"


def test_a_decompression_bomb_is_not_decoded() -> None:
    body = bytearray(a_photo())
    frame = body.index(b"\xff\xc0") + 5
    body[frame : frame + 4] = struct.pack(">HH", 60_000, 60_000)
    assert reason_of(bytes(body)) == "too_large"
