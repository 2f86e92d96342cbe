"""What SageMaker's training toolkit makes of hyperparameters: a command line, unquoted, that a shell runs."""

import subprocess
from collections.abc import Mapping


def command_line(request: Mapping[str, str]) -> list[str]:
    """The arguments that a script gets; the toolkit's own hyperparameters are not among them."""
    words = [part for k, v in request.items() if not k.startswith("sagemaker_") for part in (f"--{k}", v)]
    line = " ".join([r"printf '%s\n'", *words])
    return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S602
