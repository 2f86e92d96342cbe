"""Requests that come together go through the network together.

The container calls the handlers from several threads. Each leaves its work here and waits; one thread takes whatever
has gathered while the batch before was computed. Nobody waits for company, so that a request alone is as quick as it
can be, and a batch grows exactly when there is something to gain.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST = 16
PATIENCE_SECONDS = 55.0  # SageMaker gives up an invocation after 60


class Batcher(Generic[Item, Result]):
    """Runs a function over batches of what threads bring one by one."""

    def __init__(self, run: Callable[[list[Item]], list[Result]], largest: int = LARGEST) -> None:
        """``run`` gives one result for each item, in order; it is called from one thread only."""
        self._run, self._largest = run, largest
        self._waiting: queue.SimpleQueue[tuple[Item, Future[Result]]] = queue.SimpleQueue()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, items: list[Item]) -> list[Result]:
        """The results of some items; raises what the function raised."""
        self._ensure_thread()
        futures: list[Future[Result]] = [Future() for _ in items]
        for item, future in zip(items, futures, strict=True):
            self._waiting.put((item, future))
        return [future.result(PATIENCE_SECONDS) for future in futures]

    def _ensure_thread(self) -> None:
        with self._start:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < self._largest and not self._waiting.empty():
                batch.append(self._waiting.get())
            try:
                results = self._run([item for item, _ in batch])
                for (_, future), result in zip(batch, results, strict=True):
                    future.set_result(result)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
