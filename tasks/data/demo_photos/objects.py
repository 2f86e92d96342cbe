"""Pictures of single objects: boxes, books, bags, bottles and pouches, each as an RGBA patch."""

import math
import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from tasks.data.demo_photos.contents import Product
from tasks.data.demo_photos.plan import seeded

Colour = tuple[int, int, int]
Outline = list[tuple[float, float]]

_CARDBOARD: list[Colour] = [(150, 114, 82), (164, 126, 92), (134, 100, 74), (172, 140, 106)]
_PRINTED: list[Colour] = [
    (214, 208, 198), (226, 222, 214), (176, 44, 40), (40, 66, 118), (30, 34, 40), (52, 104, 84),
    (206, 140, 52), (110, 58, 96), (72, 132, 168), (196, 182, 60), (120, 122, 126), (92, 60, 44),
    (198, 96, 88), (36, 44, 70),
]  # fmt: skip
_CAPS: list[Colour] = [(224, 220, 210), (34, 34, 38), (198, 170, 60), (170, 40, 36)]
_INK: list[Colour] = [(24, 24, 28), (236, 232, 224), (180, 36, 32), (30, 60, 120), (216, 160, 50)]


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font at ``size`` pixels."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def draw_object(product: Product, width: int, height: int) -> Image.Image:
    """Draw ``product`` upright as an RGBA patch of ``width`` x ``height`` pixels; not to be changed."""
    rng = seeded(product.look, product.asin)
    return _DRAW[product.kind](rng, product, max(8, width), max(8, height))


def _darker(colour: Colour, factor: float) -> Colour:
    return tuple(max(0, min(255, round(c * factor))) for c in colour)  # type: ignore[return-value]


def _contrasting(rng: random.Random, colour: Colour) -> Colour:
    dark = sum(colour) < 330
    return rng.choice([ink for ink in _INK if (sum(ink) > 380) == dark])


def _shade(patch: Image.Image, across: float, down: float) -> None:
    """Darken towards the right and the bottom by the given fractions, in place."""
    width, height = patch.size
    x = np.linspace(0, across, width, dtype=np.float32)
    y = np.linspace(0, down, height, dtype=np.float32)[:, None]
    light = Image.fromarray((255 * (1 - np.clip(x + y, 0, 0.85))).astype(np.uint8))
    _multiply(patch, light)


def _multiply(patch: Image.Image, light: Image.Image) -> None:
    alpha = patch.getchannel("A")
    shaded = ImageChops.multiply(patch.convert("RGB"), Image.merge("RGB", (light, light, light)))
    shaded.putalpha(alpha)
    patch.paste(shaded)


def _print(draw: ImageDraw.ImageDraw, rng: random.Random, product: Product, area: tuple[float, ...]) -> None:
    """Print a title, a picture and small text on a front, inside ``area`` (left, top, right, bottom)."""
    left, top, right, bottom = area
    width, height = right - left, bottom - top
    if width < 12 or height < 12:
        return
    ink, second = rng.choice(_INK), rng.choice(_PRINTED)
    if rng.random() < 0.55:
        y = top + rng.uniform(0.1, 0.6) * height
        draw.rectangle((left, y, right, y + rng.uniform(0.1, 0.35) * height), fill=second)
    if rng.random() < 0.6:
        radius = rng.uniform(0.12, 0.3) * min(width, height)
        cx, cy = left + rng.uniform(0.3, 0.7) * width, top + rng.uniform(0.35, 0.75) * height
        box = (cx - radius, cy - radius, cx + radius, cy + radius)
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=rng.choice(_PRINTED))
    words = product.name.split(",")[0].split()
    size = max(6, round(min(height * 0.16, 1.5 * width / max(4, max(map(len, words))))))
    y = top + rng.uniform(0.04, 0.12) * height
    for word in words[:3]:
        if y + size < bottom:
            draw.text((left + 0.06 * width, y), word, font=font(size), fill=ink)
            y += size * 1.05
    for _ in range(rng.randint(0, 5)):
        y += max(3, 0.035 * height)
        if y < bottom - 2:
            draw.line((left + 0.08 * width, y, left + rng.uniform(0.4, 0.9) * width, y), fill=ink)


def _barcode(draw: ImageDraw.ImageDraw, rng: random.Random, area: tuple[float, ...]) -> None:
    """Stick a white label with a barcode somewhere inside ``area``."""
    left, top, right, bottom = area
    width = min(0.5 * (right - left), 60.0)
    height = 0.45 * width
    if width < 10 or bottom - top < height + 4:
        return
    x = left + rng.uniform(0.05, 0.95) * (right - left - width)
    y = top + rng.uniform(0.2, 0.95) * (bottom - top - height)
    draw.rectangle((x, y, x + width, y + height), fill=(228, 225, 218))
    bar = round(x) + 3
    while bar < x + width - 3:
        thick = rng.choice((1, 1, 2))
        draw.rectangle((bar, y + 2, bar + thick - 1, y + 0.6 * height), fill=(40, 38, 36))
        bar += thick + rng.choice((1, 2))
    draw.line((x + 3, y + 0.8 * height, x + 0.8 * width, y + 0.8 * height), fill=(80, 78, 76))


def _box(rng: random.Random, product: Product, width: int, height: int) -> Image.Image:
    patch = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(patch)
    plain = rng.random() < 0.4
    colour = rng.choice(_CARDBOARD if plain else _PRINTED)
    top = rng.uniform(0.06, 0.16) * height
    side = rng.uniform(0.0, 0.2) * width
    left_side = rng.random() < 0.5
    front = (side, top, width, height) if left_side else (0, top, width - side, height)
    draw.rectangle(front, fill=colour)
    if left_side:
        draw.polygon([(0, top * 0.7), (side, top), (side, height), (0, height * 0.97)],
                     fill=_darker(colour, 0.6))  # fmt: skip
        draw.polygon([(0, top * 0.7), (side, top), (width, top), (width - side * 0.7, 0), (side * 0.3, 0)],
                     fill=_darker(colour, 1.22))  # fmt: skip
    else:
        edge = width - side
        draw.polygon([(edge, top), (width, top * 0.7), (width, height * 0.97), (edge, height)],
                     fill=_darker(colour, 0.66))  # fmt: skip
        draw.polygon([(0, top), (edge, top), (width, top * 0.7), (width - side, 0), (side * 0.7, 0)],
                     fill=_darker(colour, 1.22))  # fmt: skip
    if plain:
        middle = (front[0] + front[2]) / 2
        tape = 0.07 * width
        draw.rectangle((middle - tape, top, middle + tape, height), fill=_darker(colour, 1.1))
        if rng.random() < 0.5:
            _print(draw, rng, product, (front[0], top + 0.5 * (height - top), middle - tape, height))
    else:
        _print(draw, rng, product, front)
    if rng.random() < 0.6:
        _barcode(draw, rng, front)
    draw.line((front[0], top, front[2], top), fill=_darker(colour, 1.35))
    draw.line((front[0], height - 1, front[2], height - 1), fill=_darker(colour, 0.45))
    _shade(patch, rng.uniform(0, 0.18), rng.uniform(0.05, 0.25))
    return patch


def _book(rng: random.Random, product: Product, width: int, height: int) -> Image.Image:
    patch = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(patch)
    colour = rng.choice(_PRINTED)
    pages = max(2.0, 0.05 * width)
    draw.rectangle((0, 0, width, height), fill=colour)
    draw.rectangle((width - pages, 2, width, height - 1), fill=(206, 198, 180))
    for x in range(round(width - pages), width, 2):
        draw.line((x, 2, x, height), fill=(164, 156, 140))
    spine = 0.07 * width
    draw.rectangle((0, 0, spine, height), fill=_darker(colour, 0.75))
    _print(draw, rng, product, (spine, 0.03 * height, width - pages, 0.97 * height))
    if rng.random() < 0.5:
        _barcode(draw, rng, (spine, 0.6 * height, width - pages, height))
    _shade(patch, rng.uniform(-0.05, 0.2), rng.uniform(0, 0.15))
    return patch


def _outline(rng: random.Random, size: tuple[int, int], points: int, rough: float) -> Outline:
    """Return a lumpy rounded outline that fills ``size`` (width, height)."""
    width, height = size
    outline = []
    for i in range(points):
        angle = 2 * math.pi * i / points
        c, s = math.cos(angle), math.sin(angle)
        # A superellipse lies between an oval and a rectangle.
        radius = (abs(c) ** 3.5 + abs(s) ** 3.5) ** (-1 / 3.5) * rng.uniform(1 - rough, 1)
        x, y = (min(1.0, max(-1.0, radius * part)) for part in (c, s))
        outline.append((width / 2 * (1 + x), height / 2 * (1 + y)))
    return outline


def _bag(rng: random.Random, product: Product, width: int, height: int) -> Image.Image:
    """A clear plastic bag: what it holds shows dimly, and its folds catch the light."""
    patch = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(patch)
    outline = _outline(rng, (width, height), rng.randint(11, 17), 0.22)
    veil = rng.randint(96, 150)
    draw.polygon(outline, fill=(veil + 18, veil + 15, veil + 8, rng.randint(120, 190)))
    inset = rng.uniform(0.06, 0.3)
    held = [(x + inset * (width / 2 - x), y + inset * (height / 2 - y)) for x, y in outline[:: rng.choice((1, 2, 3))]]
    draw.polygon(held, fill=(*_darker(rng.choice(_PRINTED), rng.uniform(0.6, 0.95)), rng.randint(170, 240)))
    if rng.random() < 0.5:
        _print(draw, rng, product, (0.25 * width, 0.3 * height, 0.75 * width, 0.8 * height))
    _folds(patch, rng, outline, rng.randint(18, 34), 250)
    if rng.random() < 0.6:
        _barcode(ImageDraw.Draw(patch), rng, (0.15 * width, 0.2 * height, 0.85 * width, 0.9 * height))
    return patch


def _folds(patch: Image.Image, rng: random.Random, outline: Outline, folds: int, brightest: int) -> None:
    """Lay creased highlights and dark creases over a patch, inside its outline."""
    width, height = patch.size
    shine = Image.new("L", patch.size)
    crease = Image.new("L", patch.size)
    lights, darks = ImageDraw.Draw(shine), ImageDraw.Draw(crease)
    for i in range(folds):
        (x0, y0), (x1, y1) = rng.sample(outline, 2)
        u = rng.uniform(0.0, 0.6)
        v = u + rng.uniform(0.08, 0.45)
        bend = rng.uniform(-0.1, 0.1) * width
        path = [
            (x0 + u * (x1 - x0), y0 + u * (y1 - y0)),
            (x0 + (u + v) / 2 * (x1 - x0) + bend, y0 + (u + v) / 2 * (y1 - y0) - bend),
            (x0 + v * (x1 - x0), y0 + v * (y1 - y0)),
        ]
        target = lights if i % 3 else darks
        target.line(path, fill=rng.randint(brightest // 3, brightest), width=rng.choice((1, 1, 2, 3)))
    alpha = patch.getchannel("A")
    soft = ImageFilter.BoxBlur(max(0.6, 0.006 * width))
    shine = ImageChops.multiply(shine.filter(soft), alpha)
    crease = ImageChops.multiply(crease.filter(soft), alpha)
    patch.paste((24, 22, 20), (0, 0, width, height), crease.point([v // 2 for v in range(256)]))
    patch.paste((238, 236, 232), (0, 0, width, height), shine)
    patch.putalpha(alpha)


def _cylinder(width: int, gloss: float) -> npt.NDArray[np.uint8]:
    """Return the brightness across a lit cylinder, ``width`` values of 0-255."""
    x = np.linspace(-1, 1, width, dtype=np.float32)
    light = 0.45 + 0.55 * np.sqrt(np.clip(1 - (x + 0.25) ** 2, 0, 1))
    light += gloss * np.exp(-(((x + 0.45) / 0.08) ** 2))
    return (255 * np.clip(light, 0, 1)).astype(np.uint8)


def _bottle(rng: random.Random, product: Product, width: int, height: int) -> Image.Image:
    patch = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(patch)
    body, cap = rng.choice(_PRINTED), rng.choice(_CAPS)
    neck = rng.uniform(0.3, 0.62) * width
    shoulder = rng.uniform(0.2, 0.3) * height
    x0, x1 = (width - neck) / 2, (width + neck) / 2
    draw.rounded_rectangle((0, shoulder * 0.75, width - 1, height - 1), radius=0.18 * width, fill=body)
    top = shoulder * 0.5
    draw.polygon([(x0, top), (x1, top), (width - 2, shoulder), (1, shoulder)], fill=body)
    draw.rounded_rectangle((x0 - 1, 0, x1 + 1, shoulder * 0.6), radius=0.05 * width, fill=cap)
    label = rng.choice(_PRINTED)
    top, bottom = shoulder + 0.1 * (height - shoulder), height - 0.12 * (height - shoulder)
    draw.rectangle((0, top, width, bottom), fill=label)
    _print(draw, rng, product, (0.05 * width, top, 0.95 * width, bottom))
    light = np.tile(_cylinder(width, rng.uniform(0, 0.5)), (height, 1))
    _multiply(patch, Image.fromarray(light))
    return patch


def _pouch(rng: random.Random, product: Product, width: int, height: int) -> Image.Image:
    """An opaque soft pack, or cloth: a lumpy outline with creases."""
    patch = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(patch)
    outline = _outline(rng, (width, height), rng.randint(14, 22), 0.1)
    colour = rng.choice(_PRINTED)
    draw.polygon(outline, fill=colour)
    if rng.random() < 0.7:
        _print(draw, rng, product, (0.15 * width, 0.15 * height, 0.85 * width, 0.85 * height))
    _folds(patch, rng, outline, rng.randint(5, 10), rng.choice((60, 90, 170)))
    _shade(patch, rng.uniform(0, 0.3), rng.uniform(0.1, 0.35))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    patch.putalpha(mask)
    return patch


_DRAW: dict[str, Callable[[random.Random, Product, int, int], Image.Image]] = {
    "box": _box,
    "book": _book,
    "bag": _bag,
    "bottle": _bottle,
    "pouch": _pouch,
}
