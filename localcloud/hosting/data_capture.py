"""Data capture: what an endpoint was asked and what it answered, as JSON lines in S3.

Objects are `<DestinationS3Uri>/<endpoint>/<variant>/yyyy/mm/dd/hh/MM-SS-mmm-<uuid>.jsonl`, one line per
request. Source: "Capture data from real-time endpoint" in the SageMaker developer guide. As on AWS, capture
is best effort and never delays an answer: lines are kept in memory for a few seconds, and dropped, with a
message in the service's log, when S3 cannot take them as fast as they come.
"""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from localcloud.operations import Cloud
from localcloud.s3 import S3Error
from localcloud.store import Document

FLUSH_SECONDS = 2.0
TICK_SECONDS = 0.2  # how soon the end of the endpoint, or of the service, is noticed
MAX_PENDING_BYTES = 256 * 1024 * 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exchange:
    """One invocation, as it is captured."""

    variant: str
    body: bytes
    content_type: str
    answer: bytes
    answer_type: str
    custom_attributes: str | None
    inference_id: str | None


class DataCapture:
    """Samples and collects the exchanges of one endpoint, and writes them to S3 in the background."""

    def __init__(self, cloud: Cloud, endpoint: str, config: Document) -> None:
        """`config` is the endpoint configuration's DataCaptureConfig."""
        self._cloud = cloud
        self._endpoint = endpoint
        self._destination = str(config["DestinationS3Uri"]).rstrip("/")
        self._percentage = config["InitialSamplingPercentage"]
        self._modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
        headers = config.get("CaptureContentTypeHeader") or {}
        self._encodings = {
            **{kind.lower(): "CSV" for kind in headers.get("CsvContentTypes", [])},
            **{kind.lower(): "JSON" for kind in headers.get("JsonContentTypes", [])},
        }
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._pending: dict[str, list[tuple[datetime, Exchange]]] = defaultdict(list)
        self._pending_bytes = 0
        self._dropped = 0

    def add(self, exchange: Exchange) -> None:
        """Take part in the sample; costs microseconds, never blocks on S3."""
        if random.random() * 100 >= self._percentage:  # noqa: S311 - a sample, not a secret
            return
        size = len(exchange.body) + len(exchange.answer)
        with self._lock:
            if self._pending_bytes + size > MAX_PENDING_BYTES:
                self._dropped += 1
                return
            self._pending[exchange.variant].append((datetime.now(UTC), exchange))
            self._pending_bytes += size

    def run(self, closed: threading.Event) -> None:
        """Write every few seconds until the endpoint closes or the service stops; then write the rest."""
        stopping = self._cloud.workers.stopping
        due = time.monotonic() + FLUSH_SECONDS
        while not closed.wait(TICK_SECONDS) and not stopping.is_set():
            if time.monotonic() >= due:
                self.flush()
                due = time.monotonic() + FLUSH_SECONDS
        self.flush()

    def flush(self) -> None:
        """Write what is pending. A write that fails is logged and its lines are dropped, as on AWS."""
        with self._writing:
            with self._lock:
                pending, self._pending = self._pending, defaultdict(list)
                dropped, self._dropped = self._dropped, 0
                self._pending_bytes = 0
            if dropped:
                _log.warning("data capture of %s dropped %d exchanges: S3 is slow", self._endpoint, dropped)
            for variant, exchanges in pending.items():
                self._write(variant, exchanges)

    def _write(self, variant: str, exchanges: list[tuple[datetime, Exchange]]) -> None:
        by_hour: dict[str, list[tuple[datetime, Exchange]]] = defaultdict(list)
        for moment, exchange in exchanges:
            by_hour[f"{moment:%Y/%m/%d/%H}"].append((moment, exchange))
        for hour, entries in by_hour.items():
            first = entries[0][0]
            name = f"{first:%M-%S}-{first.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
            uri = f"{self._destination}/{self._endpoint}/{variant}/{hour}/{name}"
            lines = "".join(json.dumps(self._line(*entry)) + "\n" for entry in entries)
            try:
                self._cloud.s3.put(uri, lines.encode())
            except S3Error as error:
                _log.warning("data capture of %s could not write %s: %s", self._endpoint, uri, error)

    def _line(self, moment: datetime, exchange: Exchange) -> dict[str, Any]:
        captured = {}
        if self._modes & {"Input", "InputAndOutput"}:
            captured["endpointInput"] = self._side("INPUT", exchange.body, exchange.content_type)
        if self._modes & {"Output", "InputAndOutput"}:
            captured["endpointOutput"] = self._side("OUTPUT", exchange.answer, exchange.answer_type)
        event: dict[str, Any] = {
            "eventId": str(uuid.uuid4()),
            "inferenceTime": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        }
        if exchange.custom_attributes:
            event["customAttributes"] = [exchange.custom_attributes]
        if exchange.inference_id:
            event["inferenceId"] = exchange.inference_id
        return {"captureData": captured, "eventMetadata": event, "eventVersion": "0"}

    def _side(self, mode: str, data: bytes, content_type: str) -> dict[str, str]:
        encoding = self._encodings.get(content_type.partition(";")[0].strip().lower(), "BASE64")
        try:
            text = base64.b64encode(data).decode() if encoding == "BASE64" else data.decode()
        except UnicodeDecodeError:
            encoding, text = "BASE64", base64.b64encode(data).decode()
        return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}
