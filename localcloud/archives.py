"""Tar archives in and out, safely: nothing lands outside its folder, and nothing half-written is left."""

import shutil
import tarfile
import zlib
from pathlib import Path


class ArchiveError(Exception):
    """The archive is broken, or holds something that may not be extracted."""


def extract(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz; SageMaker's training toolkit reads no other archive. Raises ArchiveError."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as content:
            content.extractall(folder, filter="data")
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ArchiveError(f"cannot extract {archive.name}: {error}") from error


def pack(folders: list[Path], archive: Path) -> None:
    """Write ``archive`` (a .tar.gz) of what is in the folders; a file in an earlier one wins."""
    partial = archive.with_suffix(".partial")
    seen: set[str] = set()
    # Level 1: weights hardly compress, and a job waits for this.
    with tarfile.open(partial, "w:gz", compresslevel=1) as content:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                if name not in seen:
                    seen.add(name)
                    content.add(path, name, recursive=False)
    partial.replace(archive)


def merge(folders: list[Path], target: Path) -> None:
    """Copy what is in the folders into one; a file in an earlier one wins."""
    for folder in reversed(folders):
        shutil.copytree(folder, target, dirs_exist_ok=True)
