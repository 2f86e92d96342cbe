"""From a model's folder to its handlers: requirements checked, code on `sys.path`, model loaded."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from localcloud.model_server_handlers import Handlers, ModelLoadError


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
    if not path.is_file():
        return
    missing = []
    for line in path.read_text().splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            raise ModelLoadError(f"code/requirements.txt: {text!r} is not a requirement: {error}") from error
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{text} (not installed)")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            missing.append(f"{text} (installed: {found})")
    if missing:
        raise ModelLoadError(
            "code/requirements.txt asks for what this interpreter lacks, and localcloud installs nothing: "
            + "; ".join(missing)
        )


def _code_dir(model_dir: Path, environ: Mapping[str, str]) -> Path:
    """`SAGEMAKER_SUBMIT_DIRECTORY` names a place in the container; `/opt/ml/model` is our model folder."""
    named = environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "").removeprefix("file://")
    if named.startswith("/opt/ml/model"):
        return model_dir / named.removeprefix("/opt/ml/model").lstrip("/")
    if named.startswith("/"):
        return Path(named)
    return model_dir / "code"


def worker_threads(environ: Mapping[str, str]) -> int:
    """How many requests run at once: `SAGEMAKER_MODEL_SERVER_WORKERS`, else the number of cores."""
    named = environ.get("SAGEMAKER_MODEL_SERVER_WORKERS", "")
    if named and not (named.isdecimal() and int(named) > 0):
        raise ModelLoadError(f"SAGEMAKER_MODEL_SERVER_WORKERS must be a whole number above 0, not {named!r}")
    return int(named) if named else len(os.sched_getaffinity(0))
