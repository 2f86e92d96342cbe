"""Where a job's time goes."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping


class PhaseClock:
    """Adds up the seconds spent in each phase; what nobody claims is ``other``."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._earlier: dict[str, float] = {}
        self._under_way: tuple[str, float] | None = None
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside the block as ``name``, also when it ends by an error: an interruption is one."""
        start = time.perf_counter()
        self._under_way = (name, start)
        try:
            yield
        finally:
            self._under_way = None
            self._seconds[name] += time.perf_counter() - start  # type: ignore[assignment]

    def go_on(self, earlier: Mapping[str, float]) -> None:
        """Count what earlier attempts at the job spent, as `seconds` told it; they are part of its training time."""
        self._earlier = dict(earlier)

    def seconds(self) -> dict[str, float]:
        """Seconds by phase since the clock was made, the one under way too, and of the attempts before it."""
        now = time.perf_counter()
        own = {**dict.fromkeys(("train", "eval", "data"), 0.0), **self._seconds}
        if self._under_way:
            name, start = self._under_way
            own[name] = own.get(name, 0.0) + now - start
        own["other"] = now - self._start - sum(own.values())
        return {name: own.get(name, 0.0) + self._earlier.get(name, 0.0) for name in (self._earlier | own)}
