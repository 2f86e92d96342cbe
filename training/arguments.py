"""How entry scripts read their command lines."""

import argparse
from typing import NoReturn

from training.errors import TrainingError


class Parser(argparse.ArgumentParser):
    """Raises what a job can tell SageMaker, where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            TrainingError: always.
        """
        raise TrainingError(f"{message}; python -m training.train --help lists what there is")
