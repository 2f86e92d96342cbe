"""Folders in use, read-only ones, and full disks."""

import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.data.workspace import Workspace
from tasks.settings import settings
from tests.flows.preparing.results import Prepare, everything
from training.errors import WorkspaceError


def test_two_runs_do_not_share_a_folder(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.workspace.PATIENCE_SECONDS", 0.0)
    data = prepare(limit=10)
    with Workspace(data.folder).in_use(), pytest.raises(WorkspaceError, match="Another run is preparing"):
        prepare(limit=10)


def test_a_read_only_folder_is_said_to_be_one(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: root, as whom tests may run, can write everywhere."""
    monkeypatch.setattr(Path, "mkdir", _refuse)
    with pytest.raises(WorkspaceError, match="may not be written to"):
        prepare()


def _refuse(self: Path, *_: Any, **__: Any) -> None:
    raise PermissionError(13, "Permission denied", str(self))


def test_a_full_disk_is_said_to_be_full_and_loses_nothing(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(limit=20)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.data.photos.write_atomically", _full)
        with pytest.raises(WorkspaceError, match=r"disk under .* is full"):
            prepare(limit=40)
    assert prepare(limit=40).images.downloaded == 20


def _full(path: Path, body: bytes) -> None:
    raise OSError(28, "No space left on device", str(path))


@pytest.fixture
def resize_disk(tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Make the home folder a small disk, where that may be mounted; yields what makes it so many MB large."""
    home = tmp_path / "home"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(home)]
    try:
        subprocess.run(mount, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here: {getattr(error, 'stderr', '') or error}")
    try:
        yield lambda megabytes: _remount(home, megabytes)
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


def _remount(home: Path, megabytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(home)], check=True)


def test_a_disk_that_fills_again_and_again_loses_nothing(
    prepare: Prepare,
    buckets: tuple[Path, dict[str, str]],
    resize_disk: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real one: it fills while photos are fetched, then while they are packed, and is large enough in the end."""
    said, kept = [], [dict[Path, int]()]
    for megabytes in range(1, 21):
        resize_disk(megabytes)
        try:
            data = prepare()
            break
        except WorkspaceError as error:
            said.append(str(error))
            photos = (tmp_path / "home").glob("data/*/train_data/*/*.jpg")
            kept.append({path: path.stat().st_mtime_ns for path in photos})
    assert all(re.search(r"The disk under .* is full \(0 MB free\)\. Make room", each) for each in said)
    assert all(before.items() <= after.items() for before, after in pairwise(kept)), "fetched again, or gone"
    assert 0 < len(kept[1]) < data.images.listed
    assert data.images.downloaded == data.images.listed - len(kept[-1])
    small = everything(data, buckets[0])
    monkeypatch.setenv("BINVENTORY_HOME", str(tmp_path / "large"))
    settings.cache_clear()
    assert everything(prepare(), buckets[0]) == small
