"""A dataset's folder: one run at a time, and nothing half done left behind."""

import contextlib
import threading
from pathlib import Path

import pytest

from tasks.data.workspace import Workspace, explain_disk_errors
from training.errors import WorkspaceError


def test_what_killed_writers_left_is_swept_and_the_rest_stays(tmp_path: Path) -> None:
    scraps = [".catalog.parquet.7.part", "shards/train/.train-00000.parquet.part", "state/photos/.03.parquet.7.part"]
    for name in (*scraps, "catalog.parquet", "shards/train/train-00000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with Workspace(tmp_path).in_use():
        pass
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"catalog.parquet", "shards/train/train-00000.parquet", "state/lock"}


def test_a_folder_that_was_let_go_can_be_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.workspace.PATIENCE_SECONDS", 0.0)
    workspace = Workspace(tmp_path)
    with workspace.in_use(), pytest.raises(WorkspaceError, match="Another run is preparing"), workspace.in_use():
        pass
    with workspace.in_use():
        pass


def test_a_folder_that_is_about_to_be_let_go_is_waited_for(tmp_path: Path) -> None:
    workspace, first = Workspace(tmp_path), contextlib.ExitStack()
    first.enter_context(workspace.in_use())
    letting_go = threading.Timer(1.0, first.close)
    letting_go.start()
    with workspace.in_use():
        letting_go.join(timeout=0.5)
    assert not letting_go.is_alive()


def test_another_source_is_noticed_until_it_was_fetched_whole(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.state.mkdir()
    assert not workspace.changes_source("a")
    assert not workspace.changes_source("a")
    assert workspace.changes_source("b")
    assert workspace.changes_source("b")  # killed before the end
    workspace.remember_source("b", given_up=1)
    assert workspace.changes_source("b")
    assert workspace.changing_source
    workspace.remember_source("b", given_up=0)
    assert not workspace.changes_source("b")
    assert not workspace.changing_source


@pytest.mark.parametrize(
    ("number", "says"), [(28, "is full"), (30, "may not be written to"), (13, "may not be written")]
)
def test_disk_errors_say_what_to_do(tmp_path: Path, number: int, says: str) -> None:
    with pytest.raises(WorkspaceError, match=says), explain_disk_errors(tmp_path):
        raise OSError(number, "from the kernel", str(tmp_path))
