"""Requests that come together go through the network together.

The container calls the handlers from several threads. Each leaves its work here and waits; a few threads take whatever
has gathered while the batches before were computed. Nobody waits for company: a request alone is computed at once, and
a batch grows exactly when there is something to gain.
"""

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from serving.refusal import Refusal

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST = 8  # beyond, the time of a photo hardly falls and that of a request grows
PATIENCE_SECONDS = 55.0  # SageMaker gives up an invocation after 60


class Batcher(Generic[Item, Result]):
    """Runs a function over batches of what threads bring one by one."""

    def __init__(
        self,
        run: Callable[[list[Item]], list[Result]],
        largest: int = LARGEST,
        at_once: int = 1,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing starts before the first call.

        Args:
            run: gives one result for each item, in order.
            largest: of the batches.
            at_once: how many batches are computed at the same time, each on a thread of its own.
            prepare: is called once on each of these threads.
        """
        self._run, self._largest, self._at_once, self._prepare = run, largest, at_once, prepare
        self._waiting: queue.SimpleQueue[tuple[Item, Future[Result]]] = queue.SimpleQueue()
        self._start = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __call__(self, items: list[Item]) -> list[Result]:
        """The results of some items; raises what the function raised.

        Raises:
            Refusal: 503 when they took longer than SageMaker waits; what is left of them is not computed.
        """
        self._ensure_threads()
        futures: list[Future[Result]] = [Future() for _ in items]
        for item, future in zip(items, futures, strict=True):
            self._waiting.put((item, future))
        _, late = wait(futures, PATIENCE_SECONDS)
        for future in late:
            future.cancel()
        if late:
            raise Refusal(503, f"the endpoint is busy: no answer in {PATIENCE_SECONDS:g} seconds; try again")
        return [future.result() for future in futures]

    def _ensure_threads(self) -> None:
        with self._start:
            self._threads = [thread for thread in self._threads if thread.is_alive()]  # a fork leaves none
            while len(self._threads) < self._at_once:
                thread = threading.Thread(target=self._work, name=f"batches-{len(self._threads)}", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _work(self) -> None:
        self._prepare()
        while True:
            if not (batch := self._gathered()):
                continue
            try:
                results = self._run([item for item, _ in batch])
                for (_, future), result in zip(batch, results, strict=True):
                    future.set_result(result)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)

    def _gathered(self) -> list[tuple[Item, Future[Result]]]:
        """Wait for one item, and take what waits with it; what nobody waits for any more is left out."""
        batch = [self._waiting.get()]
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._largest:
                batch.append(self._waiting.get_nowait())
        return [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
