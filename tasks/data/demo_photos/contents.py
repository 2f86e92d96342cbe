"""What lies in a demo bin: products, which of them each photo shows, and the record about them."""

import random
import string
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tasks.data.demo_photos.plan import PlannedPhoto, seeded

KINDS = {"box": 0.38, "book": 0.2, "bag": 0.2, "bottle": 0.12, "pouch": 0.1}
"""Kinds of objects, and how often each occurs."""

_MAKERS = ("Alder", "Birkwell", "Cobalt Bay", "Dunmore", "Elmside", "Farrow", "Greyling", "Harlow & Finch")
_GOODS = {
    "box": ("Stacking Blocks, 60 Pieces", "Desk Lamp Bulb, Warm", "Kitchen Timer", "Puzzle, 500 Pieces"),
    "book": ("The Tidal Garden", "A Short History of Rope", "Bread at Home", "Field Notes on Moss"),
    "bag": ("Cotton Socks, 3 Pairs", "Phone Case, Clear", "USB Cable, 2 m", "Craft Feathers"),
    "bottle": ("Shampoo, 400 ml", "Vitamin D, 120 Capsules", "Wood Polish", "Almond Oil"),
    "pouch": ("Pencil Case", "Trail Mix, 12 oz", "Travel Towel", "Ground Coffee"),
}
_SIZES = {  # inches: width, height, depth
    "box": ((3, 7), (3, 8), (1, 4)),
    "book": ((4.5, 7), (6.5, 9), (0.4, 1.6)),
    "bag": ((4, 8), (4, 8), (0.5, 2)),
    "bottle": ((1.8, 3.2), (4.5, 8.5), (1.8, 3.2)),
    "pouch": ((4, 7), (4, 7), (1, 2.5)),
}


@dataclass(frozen=True)
class Product:
    """One stock-keeping unit: what it is called, how large it is (inches), and the seed of its looks."""

    asin: str
    kind: str
    name: str
    width: float
    height: float
    depth: float
    pounds: float
    look: str


@dataclass(frozen=True)
class Contents:
    """A bin at its fullest: one product per object. A photo that shows n objects shows the first n."""

    objects: tuple[Product, ...]


def bin_contents(photo: PlannedPhoto, seed: int) -> Contents:
    """Return the contents of ``photo``'s bin; the same for every photo of that bin."""
    rng = seeded(seed, "bin", photo.bin)
    most = max(photo.stages)
    products: list[Product] = []
    objects: list[Product] = []
    while len(objects) < most:
        if not products or rng.random() < 0.62:
            products.append(_product(rng, f"{seed}/{photo.bin}/{len(products)}"))
        objects.append(rng.choice(products))
    # The first object never leaves, so that all photos of a bin share a product.
    return Contents(tuple(objects))


def _product(rng: random.Random, look: str) -> Product:
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    width, height, depth = (round(rng.uniform(*span), 2) for span in _SIZES[kind])
    asin = "B0" + "".join(rng.choices(string.ascii_uppercase + string.digits, k=8))
    name = f"{rng.choice(_MAKERS)} {rng.choice(_GOODS[kind])}"
    pounds = round(0.02 * width * height * depth * rng.uniform(0.4, 1.6), 3)
    return Product(asin, kind, name, width, height, depth, pounds, look)


def metadata_record(photo: PlannedPhoto, contents: Contents, seed: int) -> dict[str, Any]:
    """Return the photo's record in ABID's schema; some measures are absent, as they are there."""
    rng = seeded(seed, "record", photo.id)
    shown = Counter(product.asin for product in contents.objects[: photo.count])
    by_asin = {product.asin: product for product in contents.objects}
    data = {asin: _sku(by_asin[asin], quantity, rng) for asin, quantity in shown.items()}
    if data and rng.random() < 0.0006:  # so often a record's total differs from the sum of its parts
        data[next(iter(data))]["quantity"] += 1
    return {"BIN_FCSKU_DATA": data, "EXPECTED_QUANTITY": photo.count}


def _sku(product: Product, quantity: int, rng: random.Random) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "asin": product.asin,
        "height": {"unit": "IN", "value": product.depth},
        "length": {"unit": "IN", "value": product.height},
        "name": product.name,
        "normalizedName": product.name,
        "quantity": quantity,
        "weight": {"unit": "pounds", "value": product.pounds},
        "width": {"unit": "IN", "value": product.width},
    }
    for absent in ("weight", "height", "length", "width"):
        if rng.random() < 0.01:
            del entry[absent]
    return entry
