"""When to stop asking: one photo without an answer is bad luck, very many in a row are a service that is gone."""

import threading

GIVE_UP_AFTER = 64


class Patience:
    """Tells the threads that ask about many photos when it is of no use to ask about the rest.

    Every request has been tried several times before it counts as one without an answer, which takes seconds to
    minutes; twenty thousand of those would take days.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._last = ""

    @property
    def over(self) -> str:
        """Why the rest need not be asked about; empty while it is worth it."""
        with self._lock:
            return f"nothing answered {GIVE_UP_AFTER} times in a row: {self._last}" if self._is_over else ""

    def answered(self) -> None:
        """There was an answer, good or bad."""
        with self._lock:
            if not self._is_over:  # it was asked for before the others gave up, and says nothing new
                self._in_a_row = 0

    def unanswered(self, error: Exception) -> None:
        """There was none."""
        with self._lock:
            if not self._is_over:
                self._in_a_row, self._last = self._in_a_row + 1, str(error)

    @property
    def _is_over(self) -> bool:
        return self._in_a_row >= GIVE_UP_AFTER
