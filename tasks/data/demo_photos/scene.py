"""A demo photo: the bin, what lies in it, the elastic strings across, the label, the light and the lens."""

import io
import random
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tasks.data.demo_photos.contents import Contents
from tasks.data.demo_photos.layout import Place, lay_out
from tasks.data.demo_photos.objects import draw_object, font
from tasks.data.demo_photos.plan import PlannedPhoto, seeded

_FABRIC = (216, 186, 118)
_TAG_COLOURS = [(178, 52, 44), (104, 140, 184), (214, 136, 70), (30, 42, 88), (204, 140, 146), (58, 56, 64)]


def render_photo(photo: PlannedPhoto, contents: Contents, seed: int) -> bytes:
    """Return the JPEG of ``photo``. The same bin, objects and places in every photo of a bin."""
    rng = seeded(seed, "scene", photo.bin)
    width = round(rng.triangular(290, 440, 330))
    height = round(width / (rng.uniform(1.3, 1.55) if rng.random() < 0.72 else rng.uniform(0.75, 1.2)))
    frame = _Frame(rng, width, height)
    inside = (frame.right - frame.left, frame.floor - frame.ceiling)
    places = lay_out(contents.objects, inside, rng)
    shot = seeded(seed, "shot", photo.id)
    picture = _empty_bin(frame, rng)
    shown = sorted(places[: photo.count], key=lambda place: -place.depth)
    for place in shown:
        _put(picture, place, frame, shot)
    picture = ImageChops.multiply(picture, _falloff(frame.width, frame.height))
    _strings(picture, frame, rng)
    _front(picture, frame, rng)
    return _expose(picture, shot)


class _Frame:
    """Where the parts of a bin are, in pixels."""

    def __init__(self, rng: random.Random, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.left = round(width * rng.uniform(0.0, 0.07))
        self.right = width - round(width * rng.uniform(0.0, 0.07))
        self.ceiling = round(height * rng.uniform(0.03, 0.11))
        self.floor = height - round(height * rng.uniform(0.08, 0.16))
        self.sag = height * rng.uniform(0.0, 0.04)


def _empty_bin(frame: _Frame, rng: random.Random) -> Image.Image:
    """Draw the walls and the floor, seen from the front."""
    dim = rng.uniform(0.34, 0.8)
    wall = tuple(round(c * dim * rng.uniform(0.94, 1.0)) for c in _FABRIC)
    picture = Image.new("RGB", (frame.width, frame.height), wall)
    draw = ImageDraw.Draw(picture)
    inset = rng.uniform(0.04, 0.11) * frame.width
    back_floor = frame.floor - rng.uniform(0.06, 0.2) * frame.height
    side = tuple(round(c * min(1, dim * 1.3)) for c in _FABRIC)
    bottom = tuple(round(c * dim * 0.85) for c in (190, 172, 140))
    x0, x1, width, height = frame.left + inset, frame.right - inset, frame.width, frame.height
    draw.polygon([(0, 0), (x0, frame.ceiling), (x0, back_floor), (0, height)], fill=side)
    draw.polygon([(width, 0), (x1, frame.ceiling), (x1, back_floor), (width, height)], fill=side)
    draw.polygon([(x0, back_floor), (x1, back_floor), (width, height), (0, height)], fill=bottom)
    for x in (x0, x1):
        draw.line((x, frame.ceiling, x, back_floor), fill=tuple(round(c * 0.7) for c in wall), width=2)
    return picture


def _put(picture: Image.Image, place: Place, frame: _Frame, shot: random.Random) -> None:
    """Paste one object with its shadow. Things are nudged a little between two photos of a bin."""
    patch = draw_object(place.product, round(place.width), round(place.height))
    angle = place.angle + shot.gauss(0, 0.6)
    if abs(angle) > 0.5:
        patch = patch.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    alpha = patch.getchannel("A")
    patch = _dimmed(patch.convert("RGB"), 1.0 - 0.35 * place.depth)
    x = round(frame.left + place.x - patch.width / 2 + shot.gauss(0, 1.5))
    y = round(frame.ceiling + place.y - patch.height / 2 + shot.gauss(0, 0.8))
    soft = max(2, round(0.012 * frame.width))
    shadow = _shadow(alpha, soft)
    picture.paste((26, 20, 14), (x - soft, y - 2 * soft), shadow)
    picture.paste(patch, (x, y), alpha)


def _shadow(alpha: Image.Image, soft: int) -> Image.Image:
    """Return the soft shadow of an outline, ``2 * soft`` pixels larger on every side; made at a quarter of the size."""
    small = Image.new("L", (alpha.width // 4 + soft + 1, alpha.height // 4 + soft + 1))
    small.paste(alpha.reduce(4), (soft // 2, soft // 2))
    small = _dimmed(small.filter(ImageFilter.BoxBlur(soft / 4)), 0.63)
    return small.resize((alpha.width + 4 * soft, alpha.height + 4 * soft), Image.Resampling.BILINEAR)


def _dimmed(picture: Image.Image, factor: float) -> Image.Image:
    """Return the picture darker; `Image.point` takes longer to round its table than this takes for a small picture."""
    grey = round(255 * factor)
    return ImageChops.multiply(
        picture, Image.new(picture.mode, picture.size, grey if picture.mode == "L" else (grey,) * 3)
    )


@lru_cache(maxsize=32)
def _falloff(width: int, height: int) -> Image.Image:
    """Return the light inside a bin: dim under the bin above and towards the sides."""
    x = np.abs(np.linspace(-1, 1, width, dtype=np.float32))
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    light = (1 - 0.22 * x**3) * (0.62 + 0.38 * np.clip(y * 1.9, 0, 1))
    grey = Image.fromarray((255 * light).astype(np.uint8))
    return Image.merge("RGB", (grey, grey, grey))


def _strings(picture: Image.Image, frame: _Frame, rng: random.Random) -> None:
    """Stretch the elastic strings across: one wide band of them, or two or three narrow ones."""
    layer = Image.new("L", picture.size)
    draw = ImageDraw.Draw(layer)
    top, bottom = frame.ceiling, frame.floor
    height = bottom - top
    if rng.random() < 0.55:
        start = top + rng.uniform(0.02, 0.3) * height
        bands = [(start, bottom - rng.uniform(0, 0.06) * height)]
    else:
        thick = rng.uniform(0.14, 0.26) * height
        bands = [(y, y + thick) for y in (top + rng.uniform(0.08, 0.25) * height, bottom - thick * 1.15)]
    spacing = max(2.6, frame.width * rng.uniform(0.009, 0.015))
    strength = rng.randint(140, 215)
    for first, last in bands:
        y = first
        tilt = rng.gauss(0, 0.008) * frame.width
        while y < last:
            slack = rng.gauss(0, 0.6)
            middle = y + frame.sag * (y - top) / max(1, height) + slack
            right = y - tilt + rng.gauss(0, 0.6)
            points = [(0, y + tilt + slack), (frame.width * 0.5, middle), (frame.width, right)]
            draw.line(points, fill=rng.randint(strength - 40, strength + 25), width=1)
            y += spacing * rng.uniform(0.75, 1.25)
    tone = rng.choice([(226, 220, 208), (206, 200, 188), (230, 216, 190), (196, 194, 190)])
    shade = _dimmed(ImageChops.offset(layer, 0, 1), 0.2)
    picture.paste((40, 34, 26), (0, 0, *picture.size), shade)
    picture.paste(tone, (0, 0, *picture.size), layer)


def _front(picture: Image.Image, frame: _Frame, rng: random.Random) -> None:
    """Draw the bin's lip with its label below, and the lip of the bin above."""
    draw = ImageDraw.Draw(picture)
    width, height = frame.width, frame.height
    lip = tuple(min(255, round(c * rng.uniform(1.0, 1.12))) for c in _FABRIC)
    curve = [(x * width / 8, frame.floor + frame.sag * (1 - abs(x / 4 - 1) ** 2)) for x in range(9)]
    draw.polygon([*curve, (width, height), (0, height)], fill=lip)
    draw.line(curve, fill=tuple(round(c * 0.72) for c in lip), width=2)
    hem = [(x, y + 0.03 * height) for x, y in curve]
    thread = tuple(round(c * 0.85) for c in lip)
    for a, b in pairwise(hem):
        draw.line((*a, a[0] + (b[0] - a[0]) * 0.6, a[1] + (b[1] - a[1]) * 0.6), fill=thread)
    top = [(x * width / 8, frame.ceiling - frame.sag * (1 - abs(x / 4 - 1) ** 2) * 0.5) for x in range(9)]
    draw.polygon([(0, 0), *top, (width, 0)], fill=tuple(round(c * 0.86) for c in lip))
    if frame.left > 0.03 * width:
        draw.polygon([(0, 0), (frame.left, 0), (frame.left * 0.7, height), (0, height)], fill=lip)
    row = "ABCDEFGHIJ"[rng.randrange(10)]
    column = rng.randint(1, 4)
    centre = width * rng.uniform(0.32, 0.62)
    _tag(picture, f"{column}{row}", centre, frame.floor + frame.sag + 0.02 * height, frame, rng)
    if rng.random() < 0.6:
        above = frame.ceiling - frame.sag - _tag_size(frame)[1]
        _tag(picture, f"{column}{chr(ord(row) + 1)}", centre, above, frame, rng)


def _tag_size(frame: _Frame) -> tuple[int, int]:
    return round(0.38 * frame.width), round(0.14 * frame.width)


def _tag(picture: Image.Image, text: str, centre: float, top: float, frame: _Frame, rng: random.Random) -> None:
    """Draw a label: a coloured card with the bin's name, an arrow and a square code, in a clear sleeve."""
    width, height = _tag_size(frame)
    tag = Image.new("RGB", (width, height), (216, 190, 140))
    draw = ImageDraw.Draw(tag)
    edge = max(2, height // 12)
    draw.rectangle((edge, edge, width - edge, height - edge), fill=rng.choice(_TAG_COLOURS))
    inner = (3 * edge, 2 * edge, width - 3 * edge, height - 2 * edge)
    draw.rectangle((inner[0], inner[1], round(0.62 * width), inner[3]), fill=(232, 230, 224))
    size = max(8, round(0.62 * height))
    draw.text((inner[0] + edge, inner[1]), text, font=font(size), fill=(24, 24, 26), stroke_width=1)
    x, y = 0.55 * width, inner[1] + edge
    draw.line((x, y, x, y + 0.45 * height), fill=(24, 24, 26), width=max(1, edge // 2))
    draw.polygon([(x - edge, y + edge), (x + edge, y + edge), (x, y - edge / 2)], fill=(24, 24, 26))
    side = inner[3] - inner[1]
    left = round(0.68 * width)
    draw.rectangle((left, inner[1], left + side, inner[3]), fill=(232, 230, 224))
    cells = np.frombuffer(rng.randbytes(144), np.uint8).reshape(12, 12) > 120
    code = Image.fromarray((cells * 205 + 25).astype(np.uint8))
    code = code.resize((max(4, side - 4),) * 2, Image.Resampling.NEAREST)
    tag.paste(code.convert("RGB"), (left + 2, inner[1] + 2))
    tilt = rng.gauss(0, 1.5)
    mask = Image.new("L", tag.size, 255).rotate(tilt, expand=True)
    tag = tag.rotate(tilt, Image.Resampling.BILINEAR, expand=True)
    picture.paste(tag, (round(centre - width / 2), round(top)), mask)


_GRAIN = 640


@lru_cache(maxsize=4)
def _grain(strength: int) -> Image.Image:
    """Return a tile of sensor noise around 128; each photo reads it at another place."""
    noise = np.random.default_rng(strength).normal(128.0, strength, (_GRAIN, _GRAIN, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def _expose(picture: Image.Image, shot: random.Random) -> bytes:
    """Take the photo: focus or its lack, light and its colour, sensor noise, JPEG."""
    blur = shot.uniform(0.4, 0.9) if shot.random() < 0.82 else min(5.0, 1.0 + shot.expovariate(0.6))
    radius = blur * picture.width / 500
    for _ in range(1 if blur < 1 else 2):
        picture = picture.filter(ImageFilter.BoxBlur(radius))
    picture = picture.convert("RGB", _light(shot))
    x, y = shot.randrange(_GRAIN - picture.width), shot.randrange(_GRAIN - picture.height)
    grain = _grain(shot.choice((2, 3, 4, 5))).crop((x, y, x + picture.width, y + picture.height))
    picture = ImageChops.add(picture, grain, 1.0, -128)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=shot.randint(74, 90))
    return buffer.getvalue()


def _light(shot: random.Random) -> tuple[float, ...]:
    """Return the 3x4 colour matrix of one exposure: dull colours, warm light, haze from the strings."""
    colour = shot.uniform(0.55, 0.85)
    haze = shot.uniform(16, 44)
    exposure = shot.uniform(0.66, 0.98)
    matrix: list[float] = []
    for channel, warmth in enumerate((1.0, shot.uniform(0.94, 0.98), shot.uniform(0.88, 1.02))):
        grey = [(1 - colour) * weight for weight in (0.299, 0.587, 0.114)]
        grey[channel] += colour
        matrix += [weight * exposure * warmth for weight in grey] + [haze * (1.0, 0.92, 0.8)[channel]]
    return tuple(matrix)
