"""Files are whole or not there."""

import resource
import signal
from pathlib import Path

import pytest

from tasks.atomic_file import write_atomically


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "a.jpg", b"one")
    write_atomically(tmp_path / "new" / "a.jpg", b"two")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "new").iterdir()] == [("a.jpg", b"two")]


def test_text_is_utf_8_and_the_time_is_the_files_own(tmp_path: Path) -> None:
    written = write_atomically(tmp_path / "a.txt", "größer")
    assert (tmp_path / "a.txt").read_bytes() == "größer".encode()
    assert written == (tmp_path / "a.txt").stat().st_mtime_ns


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """A real short write: the kernel refuses more than this process may write to one file."""
    write_atomically(tmp_path / "a.txt", "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            write_atomically(tmp_path / "a.txt", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
