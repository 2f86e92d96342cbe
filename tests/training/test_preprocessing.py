"""Every kind of photo a camera or a phone sends becomes the same tensor, or a clear refusal."""

import io
import struct
import zlib

import pytest
import torch
from PIL import Image

from training.errors import PhotoError
from training.picture import MAX_BYTES
from training.preprocessing import normalise, to_pixels


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def two_colours(mode: str = "RGB") -> Image.Image:
    """Left half bright, right half dark."""
    image = Image.new("RGB", (80, 40), (40, 40, 40))
    image.paste((200, 200, 200), (0, 0, 40, 40))
    return image.convert(mode)


def halves(data: bytes) -> tuple[float, float]:
    pixels = to_pixels(data, 32).float()
    return float(pixels[:, :, :12].mean()), float(pixels[:, :, -12:].mean())


def test_shape_and_type() -> None:
    pixels = to_pixels(encoded(two_colours(), "JPEG"), 48)
    assert pixels.shape == (3, 48, 48)
    assert pixels.dtype == torch.uint8


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG")])
def test_other_colour_modes_look_the_same(mode: str, kind: str) -> None:
    left, right = halves(encoded(two_colours(mode), kind))
    assert left == pytest.approx(200, abs=4)
    assert right == pytest.approx(40, abs=4)


def test_sixteen_bit_grayscale_is_scaled_not_clipped() -> None:
    image = Image.frombytes("I;16", (2, 1), struct.pack("<2H", 200 * 256, 40 * 256)).resize(
        (80, 40), Image.Resampling.NEAREST
    )
    left, right = halves(encoded(image))
    assert left == pytest.approx(200, abs=2)
    assert right == pytest.approx(40, abs=2)


def test_transparency_becomes_white() -> None:
    assert halves(encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 0)))) == (255, 255)


def test_a_photo_that_says_it_is_upside_down_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    left, right = halves(encoded(two_colours(), "JPEG", exif=exif.tobytes()))
    assert left < right


def test_a_photo_of_the_right_size_is_not_resampled() -> None:
    image = Image.effect_noise((32, 32), 80).convert("RGB")
    pixels = to_pixels(encoded(image), 32)
    assert pixels.permute(1, 2, 0).numpy().tobytes() == image.tobytes()


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a whole"),
        (b"<html>404</html>", "not a whole"),
        (encoded(two_colours(), "JPEG")[:-200], "not a whole"),
        (encoded(two_colours(), "GIF"), "not a whole"),
        (bomb(), "pixels"),
        (b"\xff" * (MAX_BYTES + 1), "bytes"),
    ],
    ids=["empty", "html", "truncated", "gif", "bomb", "huge"],
)
def test_what_is_no_photo_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(PhotoError, match=said):
        to_pixels(data, 32)


def test_normalise_centres_what_the_backbone_saw() -> None:
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    values = normalise(pixels, (127 / 255,) * 3, (128 / 255,) * 3)
    assert values.flatten().tolist() == pytest.approx([-127 / 128, 0, 1])
