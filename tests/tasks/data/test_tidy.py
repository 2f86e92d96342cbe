"""Count folders follow the list and the metadata."""

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.data.chunks import write_listing
from tasks.data.file_list import SCHEMA
from tasks.data.tidy import tidy
from tasks.data.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "state").mkdir()
    return Workspace(tmp_path)


def put(workspace: Workspace, photo_id: str, count: int) -> None:
    path = workspace.photo(photo_id, count)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(photo_id)


def listed(workspace: Workspace, **counts: int) -> None:
    rows = {"id": [name.removeprefix("_") for name in counts], "listed_count": list(counts.values())}
    write_listing(workspace, pa.table(rows, schema=SCHEMA))


def files(workspace: Workspace, *names: str) -> list[str]:
    found = [path for name in names for path in (workspace.folder / name).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(workspace.folder)) for path in found)


def test_photos_that_are_not_listed_leave_and_come_back(workspace: Workspace) -> None:
    put(workspace, "00007", 2)
    put(workspace, "8", 1)
    listed(workspace, _8=1)
    assert tidy(workspace) == {"moved": 0, "unlisted": 1, "listed_again": 0}
    assert files(workspace, "train_data", "unlisted") == ["train_data/1/8.jpg", "unlisted/00007.jpg"]
    listed(workspace, _8=1, _00007=2)
    assert tidy(workspace) == {"moved": 0, "unlisted": 0, "listed_again": 1}
    assert files(workspace, "train_data", "unlisted") == ["train_data/1/8.jpg", "train_data/2/00007.jpg"]


def test_a_photo_whose_count_changed_moves(workspace: Workspace) -> None:
    put(workspace, "8", 1)
    listed(workspace, _8=3)
    assert tidy(workspace) == {"moved": 1, "unlisted": 0, "listed_again": 0}
    assert files(workspace, "train_data") == ["train_data/3/8.jpg"]


def test_scraps_of_killed_writers_go_and_what_is_not_ours_stays(workspace: Workspace) -> None:
    put(workspace, "8", 1)
    (workspace.photos / "1" / ".9.jpg.123.part").write_text("half")
    (workspace.photos / "notes").mkdir()
    (workspace.photos / "notes" / "mine.jpg").write_text("a user's own")
    listed(workspace, _8=1)
    tidy(workspace)
    assert files(workspace, "train_data") == ["train_data/1/8.jpg", "train_data/notes/mine.jpg"]


def test_unlisted_photos_of_another_source_do_not_come_back(workspace: Workspace) -> None:
    workspace.changes_source("a")
    for photo_id in ("7", "8", "9"):
        put(workspace, photo_id, 1)
    listed(workspace, _8=1, _9=1)
    tidy(workspace)
    assert files(workspace, "unlisted") == ["unlisted/7.jpg"]
    workspace.changes_source("b")
    listed(workspace, _8=1)
    tidy(workspace)
    workspace.remember_source("b", given_up=0)
    listed(workspace, _7=1, _8=1, _9=1)
    tidy(workspace)
    assert files(workspace, "train_data", "unlisted") == ["train_data/1/8.jpg"]
    assert files(workspace, "quarantine") == ["quarantine/other_source/7.jpg", "quarantine/other_source/9.jpg"]
