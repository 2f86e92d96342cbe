"""What is wrong with the home folder, or with the disk under it, in words."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from tasks.atomic_file import write_atomically
from training.errors import BinventoryError, HomeError


def write_at_home(path: Path, content: bytes | str) -> None:
    """Write a file of the home folder so that it is whole or not there.

    Raises:
        HomeError: it cannot be written to, or the disk is full.
    """
    with explain_home_errors(path.parent):
        write_atomically(path, content)


@contextlib.contextmanager
def explain_home_errors(folder: Path) -> Iterator[None]:
    """Explain why the home folder, or a folder in it, cannot be made, or a file in it opened or written.

    For nothing else: any ``OSError`` of the context is taken for the folder's.

    Raises:
        HomeError: it cannot be made or written to, or the disk is full.
    """
    try:
        with explain_disk_errors_as(HomeError, folder):
            yield
    except OSError as error:
        raise HomeError(
            f"{error.filename or folder} cannot be made or opened ({error.strerror}). Set BINVENTORY_HOME to a folder "
            "of your own."
        ) from error


@contextlib.contextmanager
def explain_disk_errors_as(kind: type[BinventoryError], folder: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that may not be written to, into an error that says what to do.

    Other errors of the context pass through.

    Args:
        kind: The error that it becomes.
        folder: What is written to; its disk's free space is in the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = _free_megabytes(folder)
            raise kind(
                f"The disk under {folder} is full ({free} MB free). Make room, or set BINVENTORY_HOME to a larger "
                "disk; what was fetched so far is kept."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise kind(
                f"{error.filename or folder} may not be written to ({error.strerror}). Change its permissions, or "
                "set BINVENTORY_HOME to a folder of your own."
            ) from error
        raise


def _free_megabytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free // 2**20
