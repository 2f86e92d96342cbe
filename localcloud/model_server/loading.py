"""From a model's folder to its handlers: requirements checked, code on `sys.path`, model loaded."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from localcloud.model_server.handlers import Handlers, ModelLoadError

THREADS_A_CORE = 8
TORCHSERVE_MOST = 6_553_500


def load_handlers(model_dir: Path, environ: Mapping[str, str]) -> Handlers:
    """Put the model's code on `sys.path`, check its requirements, import its script and load the model.

    Raises `ModelLoadError` where the archive is wrong; the user's own errors come through as they are.
    """
    code_dir = _code_dir(model_dir, environ)
    check_requirements(code_dir / "requirements.txt")
    program = environ.get("SAGEMAKER_PROGRAM", "")
    script = code_dir / (program or "inference.py")
    if not script.is_file():
        if program:
            raise ModelLoadError(f"SAGEMAKER_PROGRAM is {program!r}, but the model archive has no code/{program}")
        return Handlers(None, model_dir, environ)
    sys.path.insert(0, str(script.parent))
    if script.parent != code_dir:
        sys.path.insert(1, str(code_dir))
    return Handlers(importlib.import_module(script.stem), model_dir, environ)


def check_requirements(path: Path) -> None:
    """Refuse a model whose `requirements.txt` asks for what this interpreter lacks; install nothing."""
    missing = [reason for text in _requirements(path) if (reason := _lacking(text))]
    if missing:
        raise ModelLoadError(
            "code/requirements.txt asks for what this interpreter lacks, and localcloud installs nothing: "
            + "; ".join(missing)
        )


def _requirements(path: Path) -> Iterator[str]:
    """The lines of a requirements file that name packages, those of files that it includes too."""
    if not path.is_file():
        return
    for line in path.read_text().splitlines():
        text = line.partition(" #")[0].strip()
        option, _, argument = text.partition(" ")
        if option in ("-r", "--requirement"):
            yield from _requirements(path.parent / argument.strip())
        elif text and not text.startswith(("#", "-")):
            yield text


def _lacking(text: str) -> str | None:
    """What is wrong with a requirement here, or None when it is satisfied or not meant for this platform."""
    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        raise ModelLoadError(f"code/requirements.txt: {text!r} is not a requirement: {error}") from error
    if wanted.marker and not wanted.marker.evaluate():
        return None
    try:
        found = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{text} (not installed)"
    return None if wanted.specifier.contains(found, prereleases=True) else f"{text} (installed: {found})"


def _code_dir(model_dir: Path, environ: Mapping[str, str]) -> Path:
    """`SAGEMAKER_SUBMIT_DIRECTORY` names a place in the container; `/opt/ml/model` is our model folder."""
    named = environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "").removeprefix("file://")
    if named.startswith("/opt/ml/model"):
        return model_dir / named.removeprefix("/opt/ml/model").lstrip("/")
    if named.startswith("/"):
        return Path(named)
    return model_dir / "code"


def worker_threads(environ: Mapping[str, str]) -> int:
    """How many requests run at once: `SAGEMAKER_MODEL_SERVER_WORKERS`, else `THREADS_A_CORE` for each core.

    AWS's container starts a process for each core. Threads cost little, and handlers may batch what comes together.
    """
    named = environ.get("SAGEMAKER_MODEL_SERVER_WORKERS", "")
    if named and not (named.isdecimal() and int(named) > 0):
        raise ModelLoadError(f"SAGEMAKER_MODEL_SERVER_WORKERS must be a whole number above 0, not {named!r}")
    return int(named) if named else THREADS_A_CORE * len(os.sched_getaffinity(0))


def request_limit(environ: Mapping[str, str]) -> int:
    """Bytes of the largest request that is read: `TS_MAX_REQUEST_SIZE`, else TorchServe's 6,553,500."""
    named = environ.get("TS_MAX_REQUEST_SIZE", "")
    if named and not (named.isdecimal() and int(named) > 0):
        raise ModelLoadError(f"TS_MAX_REQUEST_SIZE must be a whole number above 0, not {named!r}")
    return int(named or TORCHSERVE_MOST)
