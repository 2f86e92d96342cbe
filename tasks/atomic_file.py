"""Files that are whole or not there, whoever is killed in the middle of writing them."""

import errno
import os
from pathlib import Path


def write_atomically(path: Path | str, content: bytes | str) -> int:
    """Write a file so that neither a reader nor a killed writer ever leaves half of it.

    What a killed writer leaves is ``.<name>.<pid>.part`` beside it. Folders that are not there are made.

    Args:
        path: The file.
        content: All of it; text is written as UTF-8.

    Returns:
        The file's time of modification, in nanoseconds.

    Raises:
        OSError: the disk is full (``ENOSPC``), or the folder may not be written to.
    """
    body = content.encode() if isinstance(content, str) else content
    folder, name = os.path.split(path)
    scratch = os.path.join(folder, f".{name}.{os.getpid()}.part")  # noqa: PTH118 - strings: done once per photo
    try:
        written = _write(scratch, body)
    except FileNotFoundError:
        Path(folder).mkdir(parents=True, exist_ok=True)
        written = _write(scratch, body)
    os.replace(scratch, path)  # noqa: PTH105
    return written


def _write(path: str, body: bytes) -> int:
    with open(path, "wb", buffering=0) as file:  # noqa: PTH123
        try:
            if file.write(body) != len(body):
                raise OSError(errno.ENOSPC, "No space left on device", path)
        except OSError:
            os.unlink(path)  # noqa: PTH108 - on a full disk, what there is of it is in the way
            raise
        return os.fstat(file.fileno()).st_mtime_ns
