"""Lists that grow and shrink, another source, and counts by people: what a run makes of what the last one left."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.prepared_data import SPLITS
from tasks.settings import settings
from tests.flows.preparing.results import Prepare, catalog, everything


def test_a_longer_list_moves_nothing_and_a_shorter_one_forgets_nothing(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]]
) -> None:
    few = prepare(limit=30)
    placed = {photo_id: row["split"] for photo_id, row in catalog(few).items()}
    assert len(placed) == few.images.listed == 30
    more = prepare(limit=50)
    rows = catalog(more)
    assert more.images.downloaded == 20
    assert {i: rows[i]["split"] for i in placed} == placed
    few_again = prepare(limit=30)
    assert few_again.digest == few.digest
    assert len(list(few.folder.glob("train_data/*/*.jpg"))) == 30
    there = buckets[0] / "binventory/datasets" / few.dataset
    assert len([path for split in SPLITS for path in there.glob(f"{split}/*/*.jpg")]) == 30
    assert prepare(limit=50).images.downloaded == 0


def test_a_longer_list_moves_nothing_on_another_machine_either(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    placed = {photo_id: row["split"] for photo_id, row in catalog(prepare(limit=30)).items()}
    monkeypatch.setenv("BINVENTORY_HOME", str(tmp_path / "other"))
    settings.cache_clear()
    rows = catalog(prepare(limit=60))
    assert len(rows) == 60
    assert {photo_id: rows[photo_id]["split"] for photo_id in placed} == placed


def test_a_dataset_that_gets_another_source_gets_its_photos(prepare: Prepare) -> None:
    first = {path.name: path.read_bytes() for path in prepare(seed=0).folder.glob("train_data/*/*.jpg")}
    other = prepare(seed=1)
    assert other.images.downloaded == other.images.listed
    photos = {path.name: path.read_bytes() for path in other.folder.glob("train_data/*/*.jpg")}
    assert all(first[name] != body for name, body in photos.items() if name in first)
    assert set(photos) & set(first)


def test_what_another_source_gave_is_not_taken_when_the_list_grows_again(prepare: Prepare) -> None:
    first = {path.name: path.read_bytes() for path in prepare(seed=0).folder.glob("train_data/*/*.jpg")}
    few = prepare(seed=1, limit=20)
    assert list(few.folder.glob("quarantine/other_source/*.jpg"))
    whole = prepare(seed=1)
    assert whole.images.downloaded == whole.images.listed - few.images.listed
    photos = {path.name: path.read_bytes() for path in whole.folder.glob("train_data/*/*.jpg")}
    assert all(first[name] != body for name, body in photos.items() if name in first)
    assert set(photos) & set(first)


def test_counts_by_people_move_photos_and_are_taken_back(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    first = prepare()
    before = everything(first, buckets[0])
    photo_id, row = next((photo_id, row) for photo_id, row in catalog(first).items() if row["count"] == 2)
    labels = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"id": [photo_id], "count": [4], "reviewers": [["ann", "bob"]]}), labels)

    labelled = catalog(prepare(labels=labels))[photo_id]
    there = buckets[0] / "binventory/datasets" / first.dataset / labelled["split"]
    assert (labelled["count"], labelled["quantity_sum"]) == (4, row["quantity_sum"])
    assert (first.folder / "train_data/4" / f"{photo_id}.jpg").exists()
    assert not (first.folder / "train_data/2" / f"{photo_id}.jpg").exists()
    assert (there / "4" / f"{photo_id}.jpg").exists()
    assert not (there / "2" / f"{photo_id}.jpg").exists()
    assert everything(prepare(), buckets[0]) == before
