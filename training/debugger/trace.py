"""A trace of a few training steps by torch.profiler, for Perfetto."""

from pathlib import Path

import torch

WARM_UP = 3


class Trace:
    """Traces some training steps after the first few, once."""

    def __init__(self, folder: Path, steps: int) -> None:
        self._folder, self._left, self._seen = folder, steps, 0
        self._profiler: torch.profiler.profile | None = None

    def step(self) -> None:
        """A training step is done."""
        self._seen += 1
        if self._profiler:
            self._left -= 1
            if self._left == 0:
                self.close()
        elif self._left and self._seen == WARM_UP:
            self._profiler = torch.profiler.profile(record_shapes=False)
            self._profiler.start()

    def close(self) -> None:
        """Write ``trace.json``, which ui.perfetto.dev and chrome://tracing open."""
        if self._profiler is None:
            return
        profiler, self._profiler, self._left = self._profiler, None, 0
        profiler.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self._folder / "trace.json"))
