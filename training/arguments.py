"""How values reach entry scripts: as hyperparameters, which come as a command line."""

import argparse
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from training.errors import TrainingError

EMPTY = "empty"
"""Stands for a value that is empty: SageMaker does not pass those on, and a shell would lose them."""


class Parser(argparse.ArgumentParser):
    """Raises what a job can tell SageMaker, where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            TrainingError: always.
        """
        raise TrainingError(f"{message}; python -m training.train --help lists what there is")


def as_argument(value: Any) -> str:
    """A value as a job is told it; `text_of` reads it back.

    SageMaker's training toolkit hands it to a shell without quoting it: what a shell could take for its own is
    percent-encoded.
    """
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return quote(text, safe=",") or EMPTY


def text_of(argument: str) -> str:
    """What a job was told: also in JSON's quotes, in which some of SageMaker's tools send it, like ``"0.01"``."""
    text = argument.strip()
    text = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    return "" if text == EMPTY else unquote(text)
