"""The data flow from end to end, on a few rendered photos and a real S3 server."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from prefect.client.orchestration import get_client

from tasks.data.prepared_data import SPLITS
from tasks.settings import settings
from tests.flows.preparing.results import Prepare, catalog, everything


def test_photos_lie_in_count_folders_here_and_by_split_on_s3(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]]
) -> None:
    data = prepare()
    rows = catalog(data)
    here = {path.stem: int(path.parent.name) for path in data.folder.glob("train_data/*/*.jpg")}
    assert here == {photo_id: row["count"] for photo_id, row in rows.items()}
    there = buckets[0] / "binventory/datasets" / data.dataset
    for split in SPLITS:
        listed = {path.stem: int(path.parent.name) for path in there.glob(f"{split}/*/*.jpg")}
        assert listed == {i: row["count"] for i, row in rows.items() if row["split"] == split}
        packed = pq.read_table(there / "shards" / split).to_pylist()
        assert {row["id"]: row["count"] for row in packed} == listed
    assert data.digest == hashlib.sha256((there / "manifest.json").read_bytes()).hexdigest()
    assert data.images.listed == data.images.downloaded == len(rows)
    assert (data.splits.train, data.splits.valid, data.splits.test) == tuple(
        sum(row["split"] == split for row in rows.values()) for split in SPLITS
    )


def test_no_bin_is_in_two_splits(prepare: Prepare) -> None:
    rows = catalog(prepare()).values()
    assert len({(row["bin_group"], row["split"]) for row in rows}) == len({row["bin_group"] for row in rows})


def test_running_again_fetches_and_changes_nothing(prepare: Prepare, buckets: tuple[Path, dict[str, str]]) -> None:
    first = prepare()
    before = everything(first, buckets[0])
    again = prepare()
    assert again.digest == first.digest
    assert (again.images.downloaded, again.images.reused) == (0, first.images.listed)
    assert everything(again, buckets[0]) == before


def test_another_home_makes_the_same_data(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = everything(prepare(), buckets[0])
    monkeypatch.setenv("BINVENTORY_HOME", str(tmp_path / "other"))
    settings.cache_clear()
    assert everything(prepare(), buckets[0]) == first


def test_dask_workers_make_the_same_data(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("prefect_dask", reason="prefect-dask is an extra")
    first = everything(prepare(), buckets[0])
    monkeypatch.setenv("BINVENTORY_HOME", str(tmp_path / "other"))
    settings.cache_clear()
    data = prepare(runner="dask")
    assert data.images.downloaded == data.images.listed
    assert everything(data, buckets[0]) == first


def test_everything_in_the_bucket_can_be_listed_by_classes(prepare: Prepare, tmp_path: Path) -> None:
    data = prepare(all=True, classes=(0, 6, 7, 8), per_class_limit=3, write_file_list=tmp_path / "list.json")
    written = json.loads((tmp_path / "list.json").read_text())
    assert {row["count"] for row in catalog(data).values()} <= {0, 6, 7, 8}
    assert sorted(i for entries in written.values() for i in entries) == sorted(
        f"data/metadata/{photo_id}.json" for photo_id in catalog(data)
    )
    assert all(1 <= len(entries) <= 3 for entries in written.values())
    again = prepare(file_list=str(tmp_path / "list.json"))
    assert catalog(again).keys() == catalog(data).keys()


def test_a_random_split_leaks_and_says_so(prepare: Prepare) -> None:
    data = prepare(split="random")
    rows = list(catalog(data).values())
    assert not data.splits.grouped
    train = {row["bin_group"] for row in rows if row["split"] == "train"}
    assert any(row["bin_group"] in train for row in rows if row["split"] == "test")
    assert "leaks on purpose" in (data.folder / "reports/split.md").read_text()


_OF_TYPE_PROGRESS = {"artifacts": {"type": {"any_": ["progress"]}}}


def test_what_a_run_shows_in_prefect(prepare: Prepare) -> None:
    data = prepare()
    with get_client(sync_client=True) as client:
        artifacts = client.request("POST", "/artifacts/latest/filter", json={}).json()
        flow_runs = {"flow_runs": {"name": {"any_": [f"prepare {data.dataset}"]}}}
        task_runs = client.request("POST", "/task_runs/filter", json=flow_runs).json()
        progress = client.request("POST", "/artifacts/filter", json=flow_runs | _OF_TYPE_PROGRESS).json()
    names = {run["name"] for run in task_runs}
    assert {"photos 1 of 1", "upload 1 of 1", f"seal {data.uri}", f"tidy {data.dataset}"} <= names
    assert not [name for name in names if re.search("-[0-9a-f]{3}$", name)], "Prefect's own names say nothing"
    shown = {artifact["key"]: artifact for artifact in artifacts if artifact["key"]}
    assert shown[f"{data.dataset}-catalog"]["type"] == "table"
    assert shown[f"{data.dataset}-split"]["type"] == "table"
    leak = shown[f"{data.dataset}-leak"]
    assert leak["type"] == "markdown"
    assert "A random split would have leaked" in leak["data"]
    sheet = shown[f"{data.dataset}-count-3"]
    assert sheet["type"] == "image"
    head, _, body = sheet["data"].partition(",")
    with Image.open(io.BytesIO(base64.b64decode(body, validate=True))) as picture:
        picture.load()
        assert head == f"data:{picture.get_format_mimetype()};base64"
    assert {(bar["description"], bar["data"]) for bar in progress} == {
        (stage, 100.0) for stage in ("Metadata", "Photos", "Shards", "Upload")
    }
