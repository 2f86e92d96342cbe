"""The data flow from end to end, on a few rendered photos and a real S3 server."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

import flows.prepare_data
import tasks.data.photos
import tasks.data.tasks
from flows.prepare_data import prepare_data
from tasks.data.demo_photos.bucket import demo_folder
from tasks.data.photos import PhotoCounts
from tasks.data.prepared_data import SPLITS, PreparedData, PrepareParameters
from tasks.data.workspace import Workspace
from tasks.object_store import ensure_bucket
from tasks.settings import settings
from tests.s3_server import serving_s3
from training.errors import (
    FileListError,
    SourceError,
    TooManyBadPhotosError,
    TransferError,
    WorkspaceError,
)

Prepare = Callable[..., PreparedData]
RENDERED = demo_folder("binventory-demo", photos=90, seed=0)
"""Where the source's photos lie."""


@pytest.fixture(scope="module")
def prefect_api() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("buckets")
    with serving_s3(folder) as variables:
        yield folder, variables


@pytest.fixture
def prepare(
    prefect_api: None,
    buckets: tuple[Path, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Prepare]:
    """Run the flow in a home of its own, with a dataset of its own."""
    for name, value in buckets[1].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BINVENTORY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(flows.prepare_data, "use_cloud", lambda _: None)
    settings.cache_clear()
    dataset = "d" + hashlib.sha256(request.node.name.encode()).hexdigest()[:10]

    def run(**parameters: Any) -> PreparedData:
        given: dict[str, Any] = {"demo_photos": 90, "dataset": dataset, "shard_size": 64}
        return prepare_data(PrepareParameters(**given | parameters))

    yield run
    settings.cache_clear()


def catalog(data: PreparedData) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(data.catalog).to_pylist()}


def everything(data: PreparedData, buckets: Path) -> dict[str, str]:
    """Digests of all results: here without ``state``, and on S3."""
    there = buckets / data.uri.removeprefix("s3://")
    found = {}
    for name, folder in (("here", data.folder), ("there", there)):
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            if path.is_file() and inside.parts[0] != "state":
                found[f"{name}/{inside}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


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


def test_a_few_bad_photos_are_named_and_many_end_the_run(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    prepare()
    source = buckets[0] / "damaged"
    ensure_bucket("s3://damaged")
    shutil.copytree(buckets[0] / RENDERED, source, dirs_exist_ok=True)
    listed = json.loads((source / "file_list.json").read_text())
    ids = [Path(entry).stem for entries in listed.values() for entry in entries]
    for photo_id in ids[:3]:
        path = source / "bin-images" / f"{photo_id}.jpg"
        path.write_bytes(path.read_bytes()[:-999])
    (source / "bin-images" / f"{ids[5]}.jpg").unlink()
    data = prepare(source="s3://damaged")
    rows = catalog(data)
    assert (data.images.corrupt, data.images.missing) == (3, 1)
    assert {rows[i]["reason"] for i in ids[:3]} == {"truncated"}
    assert rows[ids[5]]["status"] == "missing"
    assert sorted(p.stem for p in data.folder.glob("quarantine/truncated/*.jpg")) == sorted(ids[:3])
    with pytest.raises(TooManyBadPhotosError, match=r"4 of \d+ listed photos cannot be used \(3 corrupt: truncated"):
        prepare(source="s3://damaged", max_bad_fraction=0.01)


def test_prefect_tries_a_chunk_again_whose_transfers_failed(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_photos, tries = tasks.data.photos.fetch_photos, []

    def failing_once(*arguments: Any, **options: Any) -> PhotoCounts:
        tries.append(arguments)
        if len(tries) == 1:
            raise TransferError("128 transfers in a row failed: the store cannot be reached.")
        return fetch_photos(*arguments, **options)

    monkeypatch.setattr("tasks.data.tasks.photos.fetch_photos", failing_once)
    monkeypatch.setattr(tasks.data.tasks.fetch_photos, "retry_delay_seconds", 0.0)
    data = prepare(limit=20)
    assert len(tries) == 2
    assert data.images.downloaded == data.images.listed == 20


def test_where_list_and_record_differ_the_record_counts_and_it_is_said(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    assert prepare(limit=20).images.label_mismatch == 0
    listed = json.loads((buckets[0] / RENDERED / "file_list.json").read_text())
    moved = listed["2"].pop()
    listed["5"].append(moved)
    (tmp_path / "list.json").write_text(json.dumps(listed))
    data = prepare(file_list=str(tmp_path / "list.json"))
    assert data.images.label_mismatch == 1
    row = catalog(data)[Path(moved).stem]
    assert (row["count"], row["listed_count"]) == (2, 5)


def test_bad_lists_and_places_are_said_and_lose_nothing(
    prepare: Prepare, buckets: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    before = everything(prepare(), buckets[0])
    (tmp_path / "list.json").write_text('{"1": ["../../etc/passwd"]}')
    with pytest.raises(FileListError, match="names no photo"):
        prepare(file_list=str(tmp_path / "list.json"))
    with pytest.raises(SourceError, match="There is no bucket 'no-such-bucket'"):
        prepare(source="s3://no-such-bucket")
    assert everything(prepare(), buckets[0]) == before


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


def _full(path: Path, body: bytes) -> None:
    raise OSError(28, "No space left on device", str(path))
