"""Where a job's time goes."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator


class PhaseClock:
    """Adds up the seconds spent in each phase; what nobody claims is ``other``."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside the block as ``name``."""
        start = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - start  # type: ignore[assignment]

    def seconds(self) -> dict[str, float]:
        """Seconds by phase since the clock was made."""
        other = time.perf_counter() - self._start - sum(self._seconds.values())
        return {**dict.fromkeys(("train", "eval", "data"), 0.0), **self._seconds, "other": other}
