"""The code that travels: ``sourcedir.tar.gz`` for training jobs, ``code/`` for ``model.tar.gz``."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAINING_SCRIPTS = ("train.py", "hpo.py", "compute_features.py", "finetune_debugger.py")


def pack(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar of ``files`` (content by name); equal files give equal bytes, so that digests mean something."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def training_code() -> bytes:
    """The training room as script mode wants it: entry scripts and requirements at the top, the package below."""
    package = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in (ROOT / "training").rglob("*.py")}
    scripts = {name: package[f"training/{name}"] for name in TRAINING_SCRIPTS}
    requirements = {"requirements.txt": (ROOT / "training" / "requirements.txt").read_bytes()}
    return pack(package | scripts | requirements)


def serving_code() -> dict[str, bytes]:
    """What goes into ``code/`` of a model archive: the handlers, and all that they import and AWS's container lacks.

    Nothing is left to a ``requirements.txt``: each instance and each batch job would ask PyPI at every start, and where
    that does not answer the model would seem to be broken.
    """
    from serving.inference import MODULES

    files = {f"code/{module}": (ROOT / module).read_bytes() for module in MODULES}
    files["code/inference.py"] = (ROOT / "serving" / "inference.py").read_bytes()
    backbones = distribution("efficientnet-lite-pytorch")
    for file in backbones.files or ():
        if file.suffix == ".py" or file.name == "LICENSE":
            files[f"code/efficientnet_lite_pytorch/{file.name}"] = file.read_binary()
    return files


def fingerprint(archive: bytes) -> str:
    """Eight hexadecimal digits of an archive's SHA-256."""
    return hashlib.sha256(archive).hexdigest()[:8]
