"""Where each object of a demo bin lies, so that it can be seen at least in part."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tasks.data.demo_photos.contents import Product

_TRIES = 12
_ENOUGH_VISIBLE = 0.4
_BIN_INCHES = 12.0


@dataclass(frozen=True)
class Place:
    """One object's place in pixels: centre, size before rotation, degrees, and depth (0 front, 1 back)."""

    product: Product
    x: float
    y: float
    width: float
    height: float
    angle: float
    depth: float


def lay_out(objects: Sequence[Product], size: tuple[int, int], rng: random.Random) -> list[Place]:
    """Place ``objects`` on the floor of a bin whose inside is ``size`` pixels (width, height).

    They may hide each other. Of a dozen tries the one is taken whose least visible object shows most, or the
    first in which every object shows at least 40 % of itself.
    """
    best: list[Place] = []
    best_share = -1.0
    for _ in range(_TRIES):
        places = _try(objects, size, rng)
        share = _least_visible(places, size)
        if share > best_share:
            best, best_share = places, share
        if best_share >= _ENOUGH_VISIBLE:
            break
    return best


def _try(objects: Sequence[Product], size: tuple[int, int], rng: random.Random) -> list[Place]:
    width, height = size
    scale = width / _BIN_INCHES * rng.uniform(0.9, 1.1)
    slots = list(range(len(objects)))
    rng.shuffle(slots)
    places = []
    for product, slot in zip(objects, slots, strict=True):
        lying = product.kind in ("box", "book") and rng.random() < 0.25
        wide, tall = product.width * scale, product.height * scale
        if lying:
            wide, tall = tall, max(product.depth * scale * 1.4, 0.1 * height)
        shrink = min(1.0, 0.86 * height / tall, 1.9 * width / (len(objects) + 1) / wide, 0.8 * width / wide)
        wide, tall = wide * max(shrink, 0.5), min(tall * max(shrink, 0.62), 0.92 * height)
        depth = rng.random()
        angle = rng.gauss(0, 4) if rng.random() < 0.7 or lying else rng.uniform(-28, 28)
        x = (slot + 0.5 + rng.uniform(-0.35, 0.35)) / len(objects) * width
        x = min(max(x, wide * 0.45), width - wide * 0.45)
        floor = height * (1.0 - 0.16 * depth) + (0.03 * height)
        if lying and len(objects) > 2 and rng.random() < 0.6:
            floor -= rng.uniform(0.1, 0.4) * height  # on top of something
        places.append(Place(product, x, floor - tall / 2, wide, tall, angle, depth))
    return places


def _least_visible(places: Sequence[Place], size: tuple[int, int]) -> float:
    """Return the visible share of the most hidden object, measured on a small map of who is in front."""
    shrink = 64 / max(size)
    small = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
    owner = Image.new("L", small)
    draw = ImageDraw.Draw(owner)
    areas = np.zeros(len(places) + 1)
    for i in sorted(range(len(places)), key=lambda i: -places[i].depth):
        place = places[i]
        box = [(place.x - place.width / 2) * shrink, (place.y - place.height / 2) * shrink]
        draw.rectangle((*box, box[0] + place.width * shrink, box[1] + place.height * shrink), fill=i + 1)
        areas[i + 1] = place.width * place.height * shrink * shrink
    shown = np.bincount(np.asarray(owner).ravel(), minlength=len(places) + 1)
    return float(min((shown[1:] / np.maximum(areas[1:], 1)), default=1.0))
