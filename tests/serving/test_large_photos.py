"""Pictures near the limit take little more memory than their own pixels, however many come at once."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.installation import ROOT
from tests.serving.photos import encoded, picture
from training.errors import LargePhotoError, PhotoError
from training.memory import SERVING_ENVIRONMENT
from training.picture import LARGE, MAX_BYTES, decode, squash

SIDE, REQUESTS = 5000, 4
PROGRAM = """
import pathlib, re, sys
from concurrent.futures import ThreadPoolExecutor
from training.picture import decode
def peak():  # not ru_maxrss: a child inherits its parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
body = pathlib.Path(sys.argv[1]).read_bytes()
before = peak()
with ThreadPoolExecutor(int(sys.argv[2])) as pool:
    sizes = {picture.size for picture in pool.map(lambda _: decode(body, 224), range(int(sys.argv[2])))}
print(*sizes, peak() - before, sep="\\n")
"""


def transparent_png(side: int) -> bytes:
    """A black, transparent square, small as a file and four bytes a pixel when it is decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes(side * (4 * side + 1)), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_memory_of_large_pictures_at_once_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(transparent_png(SIDE))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "large.png"), str(REQUESTS)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | SERVING_ENVIRONMENT, capture_output=True, text=True, check=True
    )
    size, kilobytes = done.stdout.splitlines()
    assert size == "(455, 455)"
    alone = 4 * SIDE**2 / 1e6  # the limit of 50 megapixels lets two of the four in together
    assert int(kilobytes) / 1e3 < 4 * alone  # each took five times its own, once


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16"])
def test_a_large_picture_is_what_it_would_be_as_a_small_one(mode: str) -> None:
    truth = picture((1900, 1300))
    assert truth.width * truth.height > LARGE
    grey = mode in ("L", "I;16")
    image = truth.convert("L") if grey else truth.convert(mode) if mode != "P" else truth.quantize(256)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    seen = decode(encoded(image, "PNG", exif=exif), 64)
    assert min(seen.size) >= 128
    wanted = squash((truth.convert("L") if grey else truth).convert("RGB").transpose(Image.Transpose.ROTATE_270), 64)
    difference = np.asarray(squash(seen, 64)).astype(int) - np.asarray(wanted)
    assert abs(difference).mean() < (8 if mode == "P" else 2)


def test_what_is_too_large_is_told_from_what_is_broken() -> None:
    with pytest.raises(LargePhotoError, match="at most 20,971,520 are read"):
        decode(bytes(MAX_BYTES + 1), 64)
    with pytest.raises(PhotoError) as refused:
        decode(encoded(picture())[:300], 64)
    assert not isinstance(refused.value, LargePhotoError)
