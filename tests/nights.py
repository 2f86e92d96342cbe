"""A warehouse for tests of the nightly count: a bucket with photos, a record, a registered model, a ledger."""

import io
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
from PIL import Image
from sqlalchemy import make_url

from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Count
from tasks.object_store import ensure_bucket
from tasks.release.package import container_environment
from tasks.release.registry import Registration, register
from tasks.settings import Settings
from tests.forking import Commands
from tests.installation import Installation
from tests.localcloud.hosting import archive

BOOKKEEPING = ("run", "night", "counted_at")

BRIGHTNESS = """
    import io, json, math, os
    from PIL import Image

    class BaseInferenceToolkitError(Exception):
        def __init__(self, status_code, message, phrase):
            super().__init__(message)
            self.status_code, self.message, self.phrase = status_code, message, phrase

    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        if body.endswith(b"FAIL") and os.environ.get("PATIENCE") != "endless":
            raise RuntimeError("the model crashes")
        try:
            image = Image.open(io.BytesIO(body)).convert("L").resize((1, 1))
        except OSError as error:
            raise BaseInferenceToolkitError(400, str(error), "Bad Request")
        level = (image.getpixel((0, 0)) - 20) / 40
        weights = {c: math.exp(-3 * (level - c) ** 2) for c in range(1, 6)}
        total = sum(weights.values()) or 1.0
        shares = {str(c): w / total for c, w in weights.items()} if sum(weights.values()) else {"1": 1.0}
        count = max(shares, key=shares.get)
        outside = 0.9 if level > 5.6 or level < 0.4 else 0.02
        answer = {"count": int(count), "confidence": shares[count], "expected_value": level,
                  "probabilities": shares, "model": "brightness-1", "out_of_range": outside}
        return json.dumps(answer), "application/json"
"""
"""A model that counts by brightness, so that tests say what it will see; served as every other model is."""


def photo(count: int, seed: int = 0) -> bytes:
    """A photo in which `BRIGHTNESS` sees ``count`` objects; 0 and 6 are out of its range."""
    level = min(20 + 40 * count, 255)
    body = io.BytesIO()
    Image.new("RGB", (48, 40), (level, level, (level + seed % 3) % 256)).save(
        body, "JPEG", quality=95, comment=b"%d" % seed
    )
    return body.getvalue()


def metadata(expected: Any, *products: str) -> bytes:
    """A record in ABID's schema."""
    data = {asin: {"asin": asin, "quantity": 1} for asin in products}
    return json.dumps({"BIN_FCSKU_DATA": data, "EXPECTED_QUANTITY": expected}).encode()


class Warehouse:
    """An installation whose services stay up, with a bucket of its own and the model approved.

    Nights are commands of their own, or the ``commands`` of one process that stays.
    """

    def __init__(self, installation: Installation, commands: Commands | None = None) -> None:
        self.installation, self.commands = installation, commands or installation
        self.bucket = f"bins-{uuid.uuid4().hex[:8]}"
        self.use_new_ledger()
        self.s3 = installation.client("s3")
        self.s3.create_bucket(Bucket=self.bucket)

    def use_new_ledger(self) -> None:
        """Forget everything: the next night begins a ledger of its own."""
        self.ledger_file = self.installation.home / f"{uuid.uuid4().hex[:8]}.db"
        self.installation.environment["BINVENTORY_LEDGER"] = f"sqlite:///{self.ledger_file}"

    def events(self) -> list[dict[str, Any]]:
        """What the nights over this bucket told Prefect."""
        wanted = {"event": {"prefix": ["binventory."]}, "occurred": {"since": "2020-01-01T00:00:00Z"}}
        found = self.installation.prefect("events/filter", filter=wanted)["events"]
        return [event for event in found if event["payload"]["prefix"] == self.prefix]

    def told(self, *names: str) -> bool:
        """Whether the nights over this bucket told Prefect these; what was sent may take it some seconds to write."""
        deadline = time.monotonic() + 30
        while not {*names} <= {event["event"] for event in self.events()}:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def put_bin(self, photo_id: str, seen: int, expected: Any, *products: str) -> None:
        """One photo with its metadata, in ABID's layout."""
        self.put(f"bin-images/{photo_id}.jpg", photo(seen, int(photo_id)))
        self.put(f"metadata/{photo_id}.json", metadata(expected, *(products or (f"P{photo_id}",))))

    @property
    def prefix(self) -> str:
        return f"s3://{self.bucket}/bin-images/"

    def night(self, *arguments: str, code: int = 0) -> str:
        """Run the flow; returns what it printed."""
        arguments = arguments if "--prefix" in arguments else ("--prefix", self.prefix, *arguments)
        return self.commands.run("flows.nightly_count", *arguments, code=code)

    def ledger(self) -> Ledger:
        return Ledger(open_engine(make_url(f"sqlite+pysqlite:///{self.ledger_file}")))

    def rows(self) -> dict[str, dict[str, Any]]:
        """The ledger without who wrote it when, by key and model."""
        found = {}
        for row in self.ledger().rows(Count):
            values = dict(row._mapping)
            found[f"{row.key} {row.model}"] = {name: v for name, v in values.items() if name not in BOOKKEEPING}
        return found

    def jobs(self) -> list[str]:
        """Names of the transform jobs."""
        found = self.installation.client("sagemaker").list_transform_jobs(MaxResults=100)["TransformJobSummaries"]
        return sorted(job["TransformJobName"] for job in found)


def approve_brightness(installation: Installation, group: str = "binventory", patience: str = "", **facts: str) -> None:
    """Register the model that counts by brightness, as the pipeline registers its own, with these facts beside it."""
    before = dict(os.environ)
    os.environ.update(installation.cloud_environment())
    boto3.DEFAULT_SESSION = None
    try:
        settings = Settings(home=Path(installation.home), model_group=group)
        client = boto3.client("s3")
        ensure_bucket(f"s3://{settings.bucket}")
        key = "models/brightness/model.tar.gz"
        client.put_object(Bucket=settings.bucket, Key=key, Body=archive(BRIGHTNESS))
        registration = Registration(
            name=f"brightness-{uuid.uuid4().hex[:6]}",
            uri=f"s3://{settings.bucket}/{key}",
            image="pytorch-inference",
            environment=container_environment(settings) | {"PATIENCE": patience},
            evaluation_uri=f"s3://{settings.bucket}/evaluation.json",
            facts={"run_id": "test", **facts},
        )
        register(registration, "Approved", "a test says so", settings)
    finally:
        os.environ.clear()
        os.environ.update(before)
        boto3.DEFAULT_SESSION = None
