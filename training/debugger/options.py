"""What the debugger is told, as hyperparameters, and where the container wants its records."""

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from training.arguments import Parser, text_of
from training.channels import Channels
from training.errors import TrainingError

TENSORS, PROFILE = "debug-output", "profiler-output"
"""Folders of the records; SageMaker's own names for them in S3."""

CONFIG_FOLDER = Path("/opt/ml/input/config")


@dataclasses.dataclass(frozen=True)
class DebugOptions:
    """How much is recorded.

    Attributes:
        save_interval_train: tensors of every so many training steps.
        save_interval_eval: losses and answers of every so many validation steps.
        whole_layers: regular expressions of tensor names that are saved whole, not only as reductions.
        system_interval: seconds between two looks at the machine.
        trace_steps: training steps to trace with torch.profiler, for Perfetto.
    """

    save_interval_train: int = 10
    save_interval_eval: int = 1
    whole_layers: tuple[str, ...] = ()
    system_interval: float = 1.0
    trace_steps: int = 0


HELP = {
    "save_interval_train": "record the tensors of every so many training steps",
    "save_interval_eval": "record every so many validation steps",
    "whole_layers": "regular expressions of tensors to save whole, comma-separated; the others are saved as reductions",
    "system_interval": "seconds between two looks at processors, memory, disk, network and GPU",
    "trace_steps": "training steps to trace with torch.profiler; the trace opens in Perfetto",
}


LIMITS: dict[str, tuple[float, float | None]] = {
    "save_interval_train": (1, None),
    "save_interval_eval": (1, None),
    "system_interval": (0.05, 60),
    "trace_steps": (0, 100),
}
"""The least and, where there is one, the most of each number."""


def split_arguments(arguments: list[str] | None = None) -> tuple[DebugOptions, list[str]]:
    """Take the debugger's own ``--key value`` pairs; returns the options and the arguments of the training.

    Raises:
        TrainingError: a value makes no sense.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    for field in dataclasses.fields(DebugOptions):
        reader = _patterns if field.name == "whole_layers" else None
        names = sorted({f"--{field.name}", f"--{field.name.replace('_', '-')}"})
        parser.add_argument(*names, type=reader or type(field.default), default=field.default, help=HELP[field.name])
    known, rest = parser.parse_known_args(arguments)
    return _checked(DebugOptions(**vars(known))), rest


def _patterns(argument: str) -> tuple[str, ...]:
    return tuple(part for part in text_of(argument).split(",") if part)


def _checked(given: DebugOptions) -> DebugOptions:
    for name, (least, most) in LIMITS.items():
        value = getattr(given, name)
        if not value >= least or (most is not None and value > most):
            raise TrainingError(f"hyperparameter {name} = {value!r} makes no sense: {HELP[name]}")
    check_patterns(given.whole_layers)
    return given


def check_patterns(whole_layers: Sequence[str]) -> None:
    """Try the regular expressions of tensors that are saved whole.

    Raises:
        TrainingError: one of them is none.
    """
    for pattern in whole_layers:
        try:
            re.compile(pattern)
        except re.error as error:
            raise TrainingError(f"whole_layers: {pattern!r} is not a regular expression: {error}") from error


@dataclasses.dataclass(frozen=True)
class Places:
    """Where records go inside the container.

    Next to the checkpoints, which SageMaker uploads while the job runs, and puts back after a spot interruption; of a
    job without checkpoints, in ``output.tar.gz``. Where the account has Debugger, tensors go into the folder of its
    hook configuration, which SageMaker uploads while the job runs too, and judges.
    """

    tensors: Path
    profile: Path

    @classmethod
    def of(cls, channels: Channels) -> "Places":
        """Read SageMaker's configuration files, which say where they are by ``SM_INPUT_CONFIG_DIR``."""
        config = Path(os.environ.get("SM_INPUT_CONFIG_DIR", CONFIG_FOLDER))
        base = channels.checkpoints or channels.output
        return cls(
            tensors=_local_path(config / "debughookconfig.json") or base / TENSORS,
            profile=base / PROFILE,
        )


def _local_path(file: Path) -> Path | None:
    """The folder that Debugger's configuration names; None where there is none, and so no Debugger."""
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TrainingError(f"{file} is not JSON: {error}") from error
    given = content.get("LocalPath")
    return Path(given) if given else Path(os.environ.get("SM_OUTPUT_DIR", "/opt/ml/output")) / "tensors"
