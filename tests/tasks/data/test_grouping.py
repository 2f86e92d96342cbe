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


def test_bins_that_hold_the_very_same_photo_share_a_split(workspace: Workspace) -> None:
    """Bins of two photos each; the first of each bin from 100 on is the second of another one, in a chain of three."""
    groups = {f"_{n}{twin}": str(n) for n in range(100, 400) for twin in "ab"}
    duplicate_of = {f"{n + 100}a": f"{n}b" for n in range(100, 300)}
    found = photos(duplicate_of, **groups)
    split_of = dict(zip(found.ids, split_photos(workspace, found, "grouped", 0).splits, strict=True))
    for n in range(100, 200):
        assert len({split_of[f"{m}{twin}"] for m in (n, n + 100, n + 200) for twin in "ab"}) == 1
    assert set(split_of.values()) == {"train", "valid", "test"}


def test_a_random_split_scatters_the_very_same_photo_too(workspace: Workspace) -> None:
    found = photos(
        {f"{n}b": f"{n}a" for n in range(100)}, **{f"_{n}{twin}": str(n) for n in range(100) for twin in "ab"}
    )
    split_of = dict(zip(found.ids, split_photos(workspace, found, "random", 0).splits, strict=True))
    assert any(split_of[f"{n}a"] != split_of[f"{n}b"] for n in range(100))
