"""What cannot be known before a run, in place of which a plan has words in angle brackets."""

import re
from typing import Any

from training.arguments import as_argument

RUN, DIGEST, TOKEN = "<run>", "<digest>", "<token>"

_AFTER_THE_RUN = re.compile(rf"({RUN}-[\w<>-]*?-?|features/)[0-9a-f]{{8}}(?![0-9a-f])")
"""Names and folders end in digests of what goes in, and some of that is a placeholder itself."""


def without_digests(value: Any) -> Any:
    """A request's parameters, with digests that a plan cannot know replaced."""
    if isinstance(value, dict):
        return {key: TOKEN if key == "ClientToken" else without_digests(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_digests(item) for item in value]
    if isinstance(value, str):
        for placeholder in (RUN, DIGEST):  # as hyperparameters they have been encoded
            value = value.replace(as_argument(placeholder), placeholder)
        return _AFTER_THE_RUN.sub(rf"\g<1>{DIGEST}", value)
    return value
