"""Whatever kind of JPEG or PNG a photo is, the model sees the same picture."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serving import inference
from serving.prediction import Prediction
from tests.serving.photos import encoded, picture, save_model

UPRIGHT = picture((120, 80))
GREY = UPRIGHT.convert("L")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> inference.Model:
    return inference.model_fn(str(save_model(tmp_path_factory.mktemp("model"))))


def with_alpha() -> Image.Image:
    image = UPRIGHT.copy()
    image.putalpha(255)
    return image


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)


def turned(orientation: int, turn: Image.Transpose) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(UPRIGHT.transpose(turn), quality=98, subsampling=0, exif=exif)


def palette_with_transparency() -> bytes:
    image = UPRIGHT.convert("P", palette=Image.Palette.ADAPTIVE, colors=255)
    return encoded(image, "PNG", transparency=255)


PHOTOS = {
    "jpeg": (encoded(UPRIGHT, quality=98, subsampling=0), UPRIGHT),
    "progressive": (encoded(UPRIGHT, quality=98, subsampling=0, progressive=True), UPRIGHT),
    "png": (encoded(UPRIGHT, "PNG"), UPRIGHT),
    "opaque alpha": (encoded(with_alpha(), "PNG"), UPRIGHT),
    "cmyk": (encoded(UPRIGHT.convert("CMYK"), quality=98), UPRIGHT),
    "palette": (encoded(UPRIGHT.quantize(256), "PNG"), UPRIGHT),
    "palette with transparency": (palette_with_transparency(), UPRIGHT),
    "grayscale": (encoded(GREY, quality=98), GREY),
    "grayscale png": (encoded(GREY, "PNG"), GREY),
    "16-bit grayscale": (encoded(sixteen_bits(), "PNG"), GREY),
    "upside down": (turned(3, Image.Transpose.ROTATE_180), UPRIGHT),
    "turned left": (turned(6, Image.Transpose.ROTATE_90), UPRIGHT),
    "turned right": (turned(8, Image.Transpose.ROTATE_270), UPRIGHT),
    "mirrored": (turned(2, Image.Transpose.FLIP_LEFT_RIGHT), UPRIGHT),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_every_mode_of_a_photo_is_the_same_picture(model: inference.Model, name: str) -> None:
    body, truth = PHOTOS[name]
    seen = model.pixels(body).int()
    wanted = model.pixels(encoded(truth.convert("RGB"), "PNG")).int()
    tolerance = 8 if "palette" in name else 4  # a palette has 256 colours only
    assert (seen - wanted).abs().float().mean() < tolerance
    other = model.pixels(encoded(picture((120, 80), seed=1), "PNG")).int()
    assert (other - wanted).abs().float().mean() > 5 * tolerance


def test_what_is_transparent_is_white(model: inference.Model) -> None:
    assert (model.pixels(encoded(Image.new("RGBA", (30, 30), (0, 0, 0, 0)), "PNG")) == 255).all()
    assert (model.pixels(encoded(Image.new("LA", (30, 30), (0, 0)), "PNG")) == 255).all()


def test_broken_bytes_are_refused_and_nothing_else_happens(model: inference.Model) -> None:
    """Photos with bytes changed at random: a count, or a refusal with a reason."""
    random = np.random.default_rng(0)
    statuses = []
    for body, _ in PHOTOS.values():
        for _ in range(12):
            damaged = np.frombuffer(body, np.uint8).copy()
            places = random.integers(0, len(damaged), 8)
            damaged[places] = random.integers(0, 256, 8)
            try:
                inference.predict_fn(damaged.tobytes(), model)
            except inference.Refusal as refusal:
                statuses.append(refusal.status_code)
    assert set(statuses) == {400}
    assert len(statuses) > 10


def test_a_tensor_is_answered_as_the_photo_it_was_made_of(model: inference.Model, tmp_path: Path) -> None:
    photos = [picture((70 + 10 * number, 50), seed=number) for number in range(3)]
    alone = [inference.predict_fn(encoded(photo, "PNG"), model) for photo in photos]
    for photo, answer in zip(photos, alone, strict=True):
        for array in (np.asarray(photo), np.asarray(photo).transpose(2, 0, 1)):
            assert inference.predict_fn(inference.input_fn(as_npy(array), "application/x-npy"), model) == [answer]
    same_size = [photo.resize((64, 64)) for photo in photos]
    batch = np.stack([np.asarray(photo) for photo in same_size])
    together = inference.predict_fn(inference.input_fn(as_npy(batch), "application/x-npy"), model)
    assert isinstance(together, list)
    for photo, answer in zip(same_size, together, strict=True):
        single = inference.predict_fn(encoded(photo, "PNG"), model)
        assert isinstance(single, Prediction)
        assert answer.count == single.count
        assert torch.allclose(
            torch.tensor([*answer.probabilities.values()]), torch.tensor([*single.probabilities.values()]), atol=1e-5
        )


def as_npy(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    body = io.BytesIO()
    np.save(body, np.ascontiguousarray(array))
    return body.getvalue()
