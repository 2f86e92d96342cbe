"""A whole dataset's groups, duplicates and splits."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.data.bin_metadata import read_record
from tasks.data.chunks import write_listing
from tasks.data.file_list import SCHEMA
from tasks.data.grouping import GroupedPhotos, group_photos, split_photos
from tasks.data.metadata_stage import metadata_state
from tasks.data.photo_ids import partition_of
from tasks.data.placements import Placements
from tasks.data.prepared_data import SplitName
from tasks.data.report import leak_text
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


def a_record(**skus: object) -> bytes:
    """One SKU by ASIN for each quantity; its count is 1."""
    entries = {asin: {"asin": asin, "quantity": quantity} for asin, quantity in skus.items()}
    return json.dumps({"BIN_FCSKU_DATA": entries, "EXPECTED_QUANTITY": 1}).encode()


def groups_of(workspace: Workspace, **bodies: bytes) -> dict[str, str]:
    """The bin group of each photo with such metadata."""
    ids = [name.removeprefix("_") for name in bodies]
    write_listing(workspace, pa.table({"id": ids, "listed_count": [1] * len(ids)}, schema=SCHEMA))
    for photo_id, body in zip(ids, bodies.values(), strict=True):
        with metadata_state(workspace, partition_of(photo_id)) as state:
            state.append(read_record(photo_id, body, "e"))
    found = group_photos(workspace)
    return dict(zip(found.ids, found.groups, strict=True))


@pytest.mark.parametrize("body", [b"<html>", b"[]", a_record(B="many"), a_record(A=-1, B=1)])
def test_a_neighbour_whose_metadata_cannot_be_read_whole_is_of_the_bin(workspace: Workspace, body: bytes) -> None:
    found = groups_of(workspace, _4=a_record(A=1), _6=a_record(C=1), _7=body, _9=a_record(D=1))
    assert found == {"4": "4", "6": "6", "7": "6", "9": "9"}


def test_what_could_be_read_of_a_record_still_makes_a_bin(workspace: Workspace) -> None:
    found = groups_of(workspace, _5=a_record(A=1, B="many"), _7=a_record(A=1), _9=a_record(C=1), _10=a_record(D=1))
    assert found == {"5": "5", "7": "5", "9": "9", "10": "10"}


def test_bins_that_turn_out_to_be_one_move_no_others_photos(workspace: Workspace) -> None:
    """Placed by a version that did not know it: the one that was tested on goes to train, and the rest stays."""
    placed: Placed = [("5", "test"), ("6", "train"), ("9", "valid"), ("12", "test")]
    groups = groups_of(workspace, _5=a_record(A=1), _6=b"<html>", _9=a_record(B=1), _12=a_record(C=1))
    now = GroupedPhotos(list(groups), [1] * 4, list(groups.values()), {})
    splits = dict(
        zip(now.ids, split_photos(workspace, now, "grouped", 0, Placements.of_pairs(placed)).splits, strict=True)
    )
    assert splits == {"5": "train", "6": "train", "9": "valid", "12": "test"}


def test_what_was_published_holds_here_and_is_remembered(workspace: Workspace) -> None:
    few = photos(_5="5", _6="5", _9="9")
    placed: Placed = [("5", "test"), ("9", "valid"), ("10", "train")]
    for published in (placed, []):
        assert split_photos(workspace, few, "grouped", 0, Placements.of_pairs(published)).splits == [
            "test",
            "test",
            "valid",
        ]
    assert split_photos(workspace, photos(_10="10"), "grouped", 0).splits == ["train"]


def test_what_another_machine_learned_from_is_not_tested_on(workspace: Workspace) -> None:
    one = photos(_5="5")
    said: list[SplitName] = ["valid", "test", "train", "test"]
    stays: list[SplitName] = ["valid", "valid", "train", "train"]
    for split, stayed in zip(said, stays, strict=True):
        published = Placements.of_pairs([("5", split)])
        assert split_photos(workspace, one, "grouped", 0, published).splits == [stayed]
    assert split_photos(workspace, one, "grouped", 0).splits == ["train"]


def test_a_bin_stays_where_its_unusable_twin_was_placed(workspace: Workspace) -> None:
    placed = Placements.of_pairs([("5", "test"), ("12", "valid")])
    found = GroupedPhotos(["5", "6", "9", "12"], [None, 1, 1, None], ["5", "5", "9", "9"], {})
    assert split_photos(workspace, found, "grouped", 0, placed).splits == [None, "test", "valid", None]
    now = photos(_5="5", _6="5", _9="9", _12="9")  # they can be used again
    assert split_photos(workspace, now, "grouped", 0).splits == ["test", "test", "valid", "valid"]


def test_a_bin_stays_where_its_unlisted_twin_was_placed(workspace: Workspace) -> None:
    """Twins by their products, as far as this folder knows them: 6 has none of the earlier list's 5 and 8."""
    records = {"_4": a_record(A=1), "_5": a_record(A=1), "_6": a_record(B=1), "_8": a_record(C=1), "_10": a_record(C=1)}
    groups_of(workspace, **records)
    placed = Placements.of_pairs([("5", "test"), ("8", "valid")])
    now = photos(_4="4", _6="6", _10="10")
    assert split_photos(workspace, now, "grouped", 0, placed).splits == ["test", "train", "valid"]
    assert split_photos(workspace, photos(_5="5", _8="8"), "grouped", 0).splits == ["test", "valid"]


def test_where_products_are_unknown_a_direct_neighbour_is_a_twin_and_moves_nobody(workspace: Workspace) -> None:
    """Another machine: 4 and 6 may be photos of 5's bin; 8 was placed already, so it stays."""
    placed = Placements.of_pairs([("5", "test"), ("8", "test"), ("9", "train"), ("20", "valid"), ("22", "test")])
    now = photos(_4="4", _6="6", _8="8", _21="21", _24="24")
    splits = split_photos(workspace, now, "grouped", 0, placed).splits
    assert splits == ["test", "test", "test", "valid", "train"]


def test_bins_that_hold_the_very_same_photo_share_a_split(workspace: Workspace) -> None:
    """Bins of two photos each; the first of each bin from 100 on is the second of another one, in a chain of three."""
    groups = {f"_{n}{twin}": str(n) for n in range(100, 400) for twin in "ab"}
    duplicate_of = {f"{n + 100}a": f"{n}b" for n in range(100, 300)}
    found = photos(duplicate_of, **groups)
    split_of = dict(zip(found.ids, split_photos(workspace, found, "grouped", 0).splits, strict=True))
    for n in range(100, 200):
        assert len({split_of[f"{m}{twin}"] for m in (n, n + 100, n + 200) for twin in "ab"}) == 1
    assert set(split_of.values()) == {"train", "valid", "test"}


def test_ids_that_are_no_numbers_are_said_to_be_ungrouped(workspace: Workspace) -> None:
    groups = groups_of(workspace, cam_1=a_record(A=1), cam_2=a_record(A=1), _5=a_record(A=1), _6=a_record(A=1))
    ids = list(groups)
    found = GroupedPhotos(ids, [1] * len(ids), list(groups.values()), {})
    split = split_photos(workspace, found, "grouped", 0)
    assert leak_text(split, "grouped").startswith("- 2 of 4 ids are no numbers of at most 18 digits")
    assert "no numbers" not in leak_text(split_photos(workspace, photos(_5="5"), "grouped", 0), "grouped")


def test_a_random_split_scatters_the_very_same_photo_too(workspace: Workspace) -> None:
    found = photos(
        {f"{n}b": f"{n}a" for n in range(100)}, **{f"_{n}{twin}": str(n) for n in range(100) for twin in "ab"}
    )
    split_of = dict(zip(found.ids, split_photos(workspace, found, "random", 0).splits, strict=True))
    assert any(split_of[f"{n}a"] != split_of[f"{n}b"] for n in range(100))
