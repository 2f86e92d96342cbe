"""The data flow on the real slice: clean, and with a source that misbehaves."""

import csv
import json
import random
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import flows.prepare_data
from flows.prepare_data import prepare_data
from tasks.data.prepared_data import SPLITS, PreparedData, PrepareParameters
from tasks.settings import settings
from tests.flows.preparing.results import Prepare
from tests.s3_server import serving_s3
from tests.tasks.bucket_server import serving

pytestmark = pytest.mark.photos


@pytest.fixture(scope="module")
def source(real_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice as a bucket named as the public one."""
    bucket = tmp_path_factory.mktemp("real") / "aft-vbi-pds"
    bucket.mkdir()
    for name in ("images.tar", "metadata.tar.gz"):
        with tarfile.open(real_photos / name) as tar:
            tar.extractall(bucket, filter="data")
    return bucket


@pytest.fixture
def prepare(prefect_api: None, real_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepare]:
    (tmp_path / "buckets").mkdir()
    with serving_s3(tmp_path / "buckets") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("BINVENTORY_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(flows.prepare_data, "use_cloud", lambda _: None)
        settings.cache_clear()

        def run(**parameters: Any) -> PreparedData:
            given: dict[str, Any] = {"source": "abid", "file_list": str(real_photos / "file_list.json")}
            return prepare_data(PrepareParameters(**given | parameters))

        yield run
    settings.cache_clear()


def listed(real_photos: Path) -> dict[str, int]:
    classes = json.loads((real_photos / "file_list.json").read_text())
    return {Path(entry).stem: int(count) for count, entries in classes.items() for entry in entries}


def folders(data: PreparedData) -> dict[str, int]:
    return {path.stem: int(path.parent.name) for path in data.folder.glob("train_data/*/*.jpg")}


def test_the_whole_slice(prepare: Prepare, source: Path, real_photos: Path) -> None:
    with serving(source.parent) as endpoint:
        data = prepare(source_endpoint=endpoint)
    assert data.images.downloaded == 6307
    assert folders(data) == listed(real_photos)
    rows = pq.read_table(data.catalog).to_pylist()
    with (real_photos / "labels.csv").open() as file:
        published = {row["id"]: row for row in csv.DictReader(file)}
    assert all(row["count"] == int(published[row["id"]]["count"]) for row in rows)
    assert len({(row["bin_group"], row["split"]) for row in rows}) == len({row["bin_group"] for row in rows})
    whole = Counter(row["count"] for row in rows)
    for split in SPLITS:
        mine = Counter(row["count"] for row in rows if row["split"] == split)
        assert all(abs(mine[c] / mine.total() - whole[c] / len(rows)) < 0.01 for c in whole)
    said = (data.folder / "reports/split.md").read_text()  # docs/data.md has these figures
    assert "3834 photos belong to before/after sets of one bin (4309 bins in all)" in said
    assert re.search(r", 0 of \d+ test photos \(0\.0%\)", said)
    assert "A random split would have leaked 48.3%" in said


def test_a_source_that_misbehaves_costs_what_is_missing_and_damaged_and_nothing_else(
    prepare: Prepare, source: Path, real_photos: Path
) -> None:
    ids = sorted(listed(real_photos))
    chance = random.Random(5)
    gone = chance.sample(ids, len(ids) // 10)
    cut = chance.sample(sorted(set(ids) - set(gone)), len(ids) // 50)
    for photo_id in gone:
        (source / "bin-images" / f"{photo_id}.jpg").unlink()
    for photo_id in cut:
        path = source / "bin-images" / f"{photo_id}.jpg"
        body = path.read_bytes()
        path.write_bytes(body[: chance.randrange(len(body) - 2)])
    with serving(source.parent, "--fail-rate", "0.025", "--cut-rate", "0.025") as endpoint:
        data = prepare(source_endpoint=endpoint)
    rows = {row["id"]: row for row in pq.read_table(data.catalog).to_pylist()}
    assert sorted(i for i, row in rows.items() if row["status"] == "missing") == sorted(gone)
    assert sorted(i for i, row in rows.items() if row["status"] == "corrupt") == sorted(cut)
    whole = {i: count for i, count in listed(real_photos).items() if i not in {*gone, *cut}}
    assert folders(data) == whole
    placed = {photo_id: row["split"] for photo_id, row in rows.items() if row["split"] is not None}
    assert placed.keys() == whole.keys()
    assert len({(rows[i]["bin_group"], placed[i]) for i in whole}) == len({rows[i]["bin_group"] for i in whole})
    for photo_id, count in whole.items():
        fetched = (data.folder / "train_data" / str(count) / f"{photo_id}.jpg").read_bytes()
        assert fetched == (source / "bin-images" / f"{photo_id}.jpg").read_bytes()
