"""Placements outlive lists, folders and machines."""

import io
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.grouping import GroupedPhotos, split_photos
from tasks.data.placements import (
    NONE,
    Placements,
    publish_placements,
    published_placements,
    remember_placements,
    remembered_placements,
)
from tasks.data.prepared_data import SplitName
from tasks.data.workspace import Workspace
from tasks.object_store import ensure_bucket, open_store
from training.errors import DataError

Placed = dict[str, SplitName]


class Machine:
    """A fresh home that prepares a dataset on S3."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.workspace, self.uri = Workspace(folder), uri
        self.workspace.state.mkdir(parents=True)
        ensure_bucket(uri)

    def prepare(self, ids: list[str], seed: int = 0) -> Placed:
        """Split photos that are bins of their own, as the flow does; returns where they are."""
        published = published_placements(self.workspace, self.uri, "grouped", seed)
        photos = GroupedPhotos(ids, [1] * len(ids), ids, {})
        splits = split_photos(self.workspace, photos, "grouped", seed, published).splits
        publish_placements(self.workspace, self.uri, "grouped", seed)
        return {photo_id: split for photo_id, split in zip(ids, splits, strict=True) if split}


def known(placements: Placements) -> dict[str, str]:
    return {row["id"]: row["split"] for row in placements.table().to_pylist()}


@pytest.mark.usefixtures("s3")
def test_a_shorter_list_on_another_machine_forgets_no_placement(tmp_path: Path) -> None:
    ids = [str(n) for n in range(0, 600, 4)]
    a, b, c = (Machine(tmp_path / name, "s3://placed/datasets/shorter") for name in "abc")
    few = a.prepare(ids[:60])
    whole = a.prepare(ids)
    assert few.items() <= whole.items()
    assert b.prepare(ids[::-1][:20]).items() <= whole.items()
    assert c.prepare(ids) == whole
    assert known(remembered_placements(b.workspace, "grouped", 0)) == whole


def test_a_machine_that_read_before_another_was_done_takes_nothing_away(tmp_path: Path, s3: Path) -> None:
    uri = "s3://placed/datasets/meanwhile"
    one, other = Machine(tmp_path / "one", uri), Machine(tmp_path / "other", uri)
    one.prepare(["5", "9"])
    remember_placements(other.workspace, "grouped", 0, Placements.of_pairs([("13", "test")]))
    publish_placements(other.workspace, uri, "grouped", 0)
    there = published_placements(one.workspace, uri, "grouped", 0)
    assert known(there).keys() == {"5", "9", "13"}
    file = s3 / "placed/datasets/meanwhile/splits-grouped-0.parquet"
    before = file.read_bytes(), file.stat().st_mtime_ns
    publish_placements(one.workspace, uri, "grouped", 0)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


@pytest.mark.usefixtures("s3")
def test_each_kind_of_split_and_seed_has_placements_of_its_own(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", "s3://placed/datasets/kinds")
    placed = machine.prepare(["5", "9"], seed=1)
    assert known(published_placements(machine.workspace, machine.uri, "grouped", 1)) == placed
    assert known(published_placements(machine.workspace, machine.uri, "grouped", 0)) == {}
    assert known(published_placements(machine.workspace, machine.uri, "random", 1)) == {}


def parquet(**columns: list[str]) -> bytes:
    body = io.BytesIO()
    pq.write_table(pa.table(columns), body)
    return body.getvalue()


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("content", [b"", b"no table", parquet(id=["5"], split=["trial"]), parquet(name=["5"])])
def test_what_holds_no_placements_ends_the_run(tmp_path: Path, content: bytes) -> None:
    machine = Machine(tmp_path / "m", "s3://placed/datasets/broken")
    obstore.put(open_store(machine.uri), "splits-grouped-0.parquet", content)
    with pytest.raises(DataError, match=r"splits-grouped-0\.parquet is not what a run writes"):
        published_placements(machine.workspace, machine.uri, "grouped", 0)


def test_of_two_placements_train_goes_before_valid_before_test() -> None:
    one = Placements.of_pairs([("1", "test"), ("2", "train"), ("3", "valid")])
    other = Placements.of_pairs([("3", "test"), ("2", "valid"), ("1", "valid")])
    assert known(one.merged(other)) == known(other.merged(one)) == {"1": "valid", "2": "train", "3": "valid"}
    assert known(NONE.merged(one)) == known(one.merged(NONE)) == known(one)
