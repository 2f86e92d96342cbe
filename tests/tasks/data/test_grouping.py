"""A whole dataset's groups, duplicates and splits."""

from pathlib import Path

import pytest

from tasks.data.grouping import GroupedPhotos, split_photos
from tasks.data.prepared_data import SplitName
from tasks.data.workspace import Workspace

Placed = list[tuple[str, SplitName]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "state").mkdir()
    return Workspace(tmp_path)


def photos(duplicate_of: dict[str, str] | None = None, **groups: str) -> GroupedPhotos:
    """Photos that can be used, with their bin groups."""
    ids = [name.removeprefix("_") for name in groups]
    return GroupedPhotos(ids, [1] * len(ids), list(groups.values()), duplicate_of or {})


def test_what_was_published_holds_here_and_is_remembered(workspace: Workspace) -> None:
    few = photos(_5="5", _6="5", _9="9")
    placed: Placed = [("5", "test"), ("9", "valid"), ("10", "train")]
    for published in (placed, []):
        assert split_photos(workspace, few, "grouped", 0, published).splits == ["test", "test", "valid"]
    assert split_photos(workspace, photos(_10="10"), "grouped", 0).splits == ["train"]


def test_what_another_machine_learned_from_is_not_tested_on(workspace: Workspace) -> None:
    one = photos(_5="5")
    said: list[SplitName] = ["valid", "test", "train", "test"]
    stays = ["valid", "valid", "train", "train"]
    assert [split_photos(workspace, one, "grouped", 0, [("5", split)]).splits[0] for split in said] == stays
    assert split_photos(workspace, one, "grouped", 0).splits == ["train"]
