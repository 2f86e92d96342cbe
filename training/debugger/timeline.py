"""What the loop did when, as SageMaker's profiler writes it: ``framework/pevents/<hour>/<end>_<node>_...json``.

A file is a JSON list in Chrome's trace-event format; smdebug's `LocalAlgorithmMetricsReader` reads it.
"""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from training.observer import Mode

EVERY_SECONDS = 60.0
PHASES: dict[Mode, str] = {"train": "Step:ModeKeys.TRAIN", "eval": "Step:ModeKeys.EVAL"}
PARTS = ("DataIterator", "Forward", "Backward")
"""Within a step: getting the batch ready; the network and its loss; gradients and update."""


class Timeline:
    """Collects spans of time and writes them every minute, so that an interrupted job leaves what it had."""

    def __init__(self, folder: Path, node: str = "algo-1") -> None:
        self._folder, self._node = folder, node
        self._spans: list[tuple[str, str, float, float, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._began = self._phase_since = self._step_since = self._forward_since = self._forward_until = time.time()
        self._flushed = time.monotonic()

    def phase(self, name: str) -> None:
        """What has passed since the last phase ended was this."""
        now = time.time()
        self._add(name, name, self._phase_since, now)
        self._phase_since = now

    def step_begins(self) -> None:
        """A step follows; what was before it belongs to no step."""
        self._step_since = self._forward_since = self._forward_until = time.time()

    def forward_begins(self) -> None:
        """The batch is ready, and the network gets it."""
        self._forward_since = time.time()

    def forward_ends(self) -> None:
        """The loss is known."""
        self._forward_until = time.time()

    def step_ends(self, mode: Mode, step: int, photos: int) -> None:
        """A step is done: note it and its parts, and begin the next."""
        now, began = time.time(), self._step_since
        told = {"step_num": str(step), "photos": photos, "pid": os.getpid()}
        self._add(PHASES[mode], PHASES[mode], began, now, told)
        forward, until = max(began, self._forward_since), max(began, self._forward_until)
        if until >= forward:
            edges = (began, forward, until, now)
            for name, start, end in zip(PARTS, edges, edges[1:], strict=False):
                if mode == "train" or name != "Backward":
                    self._add(name, f"{name}-{mode}", start, end, told)
        self.step_begins()
        self._phase_since = now
        if time.monotonic() - self._flushed >= EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected since the last time."""
        with self._lock:
            spans, self._spans = self._spans, []
        self._flushed = time.monotonic()
        if not spans:
            return
        names = sorted({name for name, *_ in spans})
        base = round(min(start for _, _, start, _, _ in spans) * 1e6)
        ids = {name: number for number, name in enumerate(names)}
        events: list[dict[str, Any]] = []
        for name, number in ids.items():
            about = {"name": name, "start_time_since_epoch_in_micros": base}
            events.append({"name": "process_name", "ph": "M", "pid": number, "args": about})
            events.append({"name": "process_sort_index", "ph": "M", "pid": number, "args": {"sort_index": number}})
        for name, operation, start, end, told in spans:
            span = {"name": operation, "ph": "X", "pid": ids[name], "tid": 0, "ts": round(start * 1e6) - base}
            events.append(span | {"dur": round((end - start) * 1e6), "args": told})
        last = max(end for _, _, _, end, _ in spans)
        hour = time.strftime("%Y%m%d%H", time.gmtime(last))
        file = self._folder / "framework" / "pevents" / hour / f"{round(last * 1e6)}_{self._node}_pythontimeline.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._folder / f".{file.name}"
        scratch.write_text(json.dumps(events))
        scratch.replace(file)

    def _add(self, name: str, operation: str, start: float, end: float, told: dict[str, Any] | None = None) -> None:
        with self._lock:
            self._spans.append((name, operation, start, end, told or {}))
