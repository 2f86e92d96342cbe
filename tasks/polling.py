"""How long to wait between two looks at something that SageMaker does."""

from collections.abc import Iterator

FIRST_SECONDS, GROWTH = 0.25, 1.5


def pauses(longest: float) -> Iterator[float]:
    """Yield pauses, in seconds, that grow up to the longest one: what takes a second is seen within half of one.

    What takes minutes, as everything does on AWS, costs a handful of requests more.
    """
    pause = FIRST_SECONDS
    while True:
        yield min(pause, longest)
        pause = min(pause * GROWTH, longest)
