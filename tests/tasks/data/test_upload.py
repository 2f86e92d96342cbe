"""Uploading: only what changed travels, and what went away goes."""

import hashlib
import json
import random
from pathlib import Path

import obstore
import pyarrow as pa
import pytest

from tasks.data.catalog import CATALOG_SCHEMA
from tasks.data.manifest import MANIFEST_KEY, Recipe, manifest_placements, upload_manifest, write_manifest
from tasks.data.partition_state import write_batches
from tasks.data.photo_ids import partition_of
from tasks.data.shards import ShardFile
from tasks.data.upload import delete_objects, plan_upload, put_objects
from tasks.data.workspace import Workspace
from tasks.object_store import ensure_bucket, open_store
from tests.tasks.data.faulty_uploads import FAULTS, faulty_uploads
from tests.tasks.data.part_server import serving_parts
from training.errors import DataError, TransferError

RECIPE = Recipe(dataset="d", source="abid", seed=0, split="grouped", shard_size=224)


class Dataset:
    """A workspace with a catalog, and its place on S3."""

    def __init__(self, folder: Path, buckets: Path, name: str) -> None:
        self.workspace = Workspace(folder)
        self.workspace.state.mkdir(parents=True, exist_ok=True)
        self.uri = f"s3://uploads/datasets/{name}"
        self.there = buckets / "uploads/datasets" / name
        self.shards: list[ShardFile] = []
        ensure_bucket(self.uri)

    def hold(self, *photos: tuple[str, int, str, bytes]) -> None:
        tables: dict[int, list[dict[str, object]]] = {}
        body = b""
        for photo_id, count, split, body in photos:
            path = self.workspace.photo(photo_id, count)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            row = {"id": photo_id, "count": count, "split": split, "status": "ok", "bytes": len(body)}
            row["sha256"] = hashlib.sha256(body).hexdigest()
            tables.setdefault(partition_of(photo_id), []).append(row)
        parts = (pa.Table.from_pylist(tables[p], schema=CATALOG_SCHEMA) for p in sorted(tables))
        write_batches(parts, self.workspace.catalog, CATALOG_SCHEMA)
        shard = self.workspace.shards / "train/train-00000.parquet"
        shard.parent.mkdir(parents=True, exist_ok=True)
        shard.write_bytes(body)
        self.shards = [
            ShardFile("shards/train/train-00000.parquet", shard, 1, len(body), hashlib.sha256(body).hexdigest())
        ]

    def upload(self) -> tuple[int, int, list[str]]:
        """Upload; returns objects put, objects left alone, keys deleted."""
        plan = plan_upload(self.workspace, self.uri, self.shards)
        put = sum(put_objects(part) for part in plan.uploads)
        if plan.to_delete:
            delete_objects(self.uri, plan.to_delete)
        return put, plan.unchanged, plan.to_delete

    def objects(self) -> list[str]:
        return sorted(str(path.relative_to(self.there)) for path in self.there.rglob("*") if path.is_file())


@pytest.fixture
def dataset(tmp_path: Path, s3: Path, request: pytest.FixtureRequest) -> Dataset:
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    return Dataset(tmp_path / "d", s3, name)


def test_objects_lie_by_split_and_count(dataset: Dataset) -> None:
    dataset.hold(("00007", 3, "train", b"a"), ("8", 1, "test", b"b"))
    assert dataset.upload() == (3, 0, [])
    assert dataset.objects() == ["shards/train/train-00000.parquet", "test/1/8.jpg", "train/3/00007.jpg"]
    assert (dataset.there / "train/3/00007.jpg").read_bytes() == b"a"


def test_only_what_changed_travels(dataset: Dataset) -> None:
    dataset.hold(("7", 3, "train", b"a"), ("8", 1, "test", b"b"))
    dataset.upload()
    assert dataset.upload() == (0, 3, [])
    dataset.hold(("7", 3, "train", b"A"), ("8", 1, "test", b"b"))
    assert dataset.upload() == (1, 2, [])
    assert (dataset.there / "train/3/7.jpg").read_bytes() == b"A"


def test_another_machine_finds_what_is_there_by_its_digest(dataset: Dataset, tmp_path: Path, s3: Path) -> None:
    dataset.hold(("7", 3, "train", b"a"), ("8", 1, "test", b"b"))
    dataset.upload()
    other = Dataset(tmp_path / "other", s3, dataset.there.name)
    other.hold(("7", 3, "train", b"a"), ("8", 1, "test", b"b"))
    assert other.upload() == (0, 3, [])


def test_another_machine_finds_what_aws_was_sent_in_parts(
    tmp_path: Path, s3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The S3 server of the other tests lists MD5s of whole objects; AWS lists none of those that came in parts."""
    large = random.Random(7).randbytes(11 * 2**20)
    with serving_parts() as (address, server):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        for machine in ("one", "other"):
            dataset = Dataset(tmp_path / machine, s3, "parts")
            dataset.hold(("8", 1, "test", b"b"), ("7", 3, "train", large))
            assert dataset.upload() == ((3, 0, []) if machine == "one" else (0, 3, []))
        etags = {name.rpartition(".")[2]: etag for name, (_, etag) in server.objects.items()}
        assert etags["parquet"].endswith("-3")
        third = Dataset(tmp_path / "third", s3, "parts")
        third.hold(("8", 1, "test", b"b"), ("7", 3, "train", large[::-1]))
        assert third.upload() == (2, 1, [])
        assert server.objects["uploads/datasets/parts/train/3/7.jpg"][0] == large[::-1]


def test_what_somebody_changed_or_deleted_there_is_put_again(dataset: Dataset) -> None:
    dataset.hold(("7", 3, "train", b"a"), ("8", 1, "test", b"b"))
    dataset.upload()
    store = open_store(dataset.uri)
    obstore.put(store, "train/3/7.jpg", b"x")
    obstore.delete(store, "test/1/8.jpg")
    assert dataset.upload() == (2, 1, [])


def test_what_the_dataset_does_not_have_any_more_goes_and_nothing_else(dataset: Dataset) -> None:
    dataset.hold(("7", 3, "train", b"a"), ("8", 1, "test", b"b"))
    dataset.upload()
    obstore.put(open_store(dataset.uri), "notes.txt", b"a user's own")
    dataset.hold(("7", 2, "train", b"a"), ("8", 1, "test", b"b"))
    assert dataset.upload() == (1, 2, ["train/3/7.jpg"])
    assert dataset.objects() == ["notes.txt", "shards/train/train-00000.parquet", "test/1/8.jpg", "train/2/7.jpg"]


def test_the_manifest_names_every_object_with_its_digest_and_depends_on_the_data_alone(dataset: Dataset) -> None:
    dataset.hold(("7", 3, "train", b"a"), ("8", 1, "test", b"b"))
    digest = write_manifest(dataset.workspace, RECIPE, dataset.shards)
    manifest = json.loads(dataset.workspace.manifest.read_bytes())
    assert hashlib.sha256(dataset.workspace.manifest.read_bytes()).hexdigest() == digest
    assert {p["key"]: p["sha256"] for p in manifest["photos"]} == {
        "train/3/7.jpg": hashlib.sha256(b"a").hexdigest(),
        "test/1/8.jpg": hashlib.sha256(b"b").hexdigest(),
    }
    assert manifest["counts"] == {"train": {"3": 1}, "valid": {}, "test": {"1": 1}}
    assert [s["photos"] for s in manifest["shards"]] == [1]
    assert write_manifest(dataset.workspace, RECIPE, dataset.shards) == digest
    dataset.hold(("7", 3, "train", b"A"), ("8", 1, "test", b"b"))
    assert write_manifest(dataset.workspace, RECIPE, dataset.shards) != digest


def test_the_manifest_travels_only_when_it_changed(dataset: Dataset) -> None:
    dataset.hold(("7", 3, "train", b"a"))
    write_manifest(dataset.workspace, RECIPE, dataset.shards)
    assert upload_manifest(dataset.workspace, dataset.uri)
    assert not upload_manifest(dataset.workspace, dataset.uri)
    assert (dataset.there / "manifest.json").read_bytes() == dataset.workspace.manifest.read_bytes()


def placements(dataset: Dataset, mode: str = "grouped", seed: int = 0) -> dict[str, str]:
    return dict(manifest_placements(dataset.workspace, dataset.uri, mode, seed))


def test_the_manifest_tells_where_photos_were_placed_by_this_kind_of_split(dataset: Dataset) -> None:
    photos = [(str(n), n % 9, ("train", "valid", "test")[n % 3], b"a") for n in range(3000)]
    dataset.hold(*photos)
    write_manifest(dataset.workspace, RECIPE, dataset.shards)
    upload_manifest(dataset.workspace, dataset.uri)
    dataset.workspace.manifest.unlink()
    assert placements(dataset) == {photo_id: split for photo_id, _, split, _ in photos}
    assert placements(dataset, mode="random") == placements(dataset, seed=1) == {}


def test_without_a_manifest_on_s3_the_one_here_tells_and_without_any_nothing_does(dataset: Dataset) -> None:
    assert placements(dataset) == {}
    dataset.hold(("00007", 3, "valid", b"a"), ("a.b-c", 1, "train", b"b"))
    write_manifest(dataset.workspace, RECIPE, dataset.shards)
    assert placements(dataset) == {"00007": "valid", "a.b-c": "train"}


def test_a_manifest_of_no_photos_places_none(dataset: Dataset) -> None:
    dataset.hold()
    write_manifest(dataset.workspace, RECIPE, [])
    assert placements(dataset) == {}


@pytest.mark.parametrize(
    "edit", [(b'"version": 1', b'"version": 2'), (b'{"key": "t', b'{"Key": "t'), (b" ]\n}\n", b"")]
)
def test_a_manifest_that_cannot_be_understood_ends_the_run(dataset: Dataset, edit: tuple[bytes, bytes]) -> None:
    dataset.hold(("7", 3, "train", b"a"))
    write_manifest(dataset.workspace, RECIPE, dataset.shards)
    obstore.put(open_store(dataset.uri), MANIFEST_KEY, dataset.workspace.manifest.read_bytes().replace(*edit))
    with pytest.raises(DataError, match=r"manifest\.json is no manifest that this version wrote"):
        placements(dataset)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1}', b"\xff"])
def test_what_is_no_manifest_ends_the_run(dataset: Dataset, content: bytes) -> None:
    obstore.put(open_store(dataset.uri), MANIFEST_KEY, content)
    with pytest.raises(DataError, match="is no manifest"):
        placements(dataset)


def test_uploads_that_suffer_end_whole_and_are_not_done_again(
    dataset: Dataset, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with 503, cut short, or done but never confirmed: each is tried again until it is right."""
    photos = [(str(n), n % 5 + 1, "train", bytes([n]) * (900 + n)) for n in range(1, 120)]
    dataset.hold(*photos)
    with faulty_uploads(s3_variables["AWS_ENDPOINT_URL_S3"], rate=0.3) as (address, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        assert dataset.upload() == (120, 0, [])
    assert all(proxy.suffered[fault] >= 5 for fault in FAULTS)
    assert all((dataset.there / f"train/{count}/{name}.jpg").read_bytes() == body for name, count, _, body in photos)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_variables["AWS_ENDPOINT_URL_S3"])
    assert dataset.upload() == (0, 120, [])


def test_a_destination_that_goes_away_is_worth_another_try_and_keeps_what_it_has(
    dataset: Dataset, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset.hold(("7", 3, "train", b"a"))
    dataset.upload()
    dataset.hold(("7", 3, "train", b"a"), ("8", 1, "test", b"b"))
    plan = plan_upload(dataset.workspace, dataset.uri, dataset.shards)
    monkeypatch.setattr("tasks.data.upload._put.retry.stop", lambda _: True)
    with faulty_uploads(s3_variables["AWS_ENDPOINT_URL_S3"], rate=1.0) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        monkeypatch.setattr("tests.tasks.data.faulty_uploads.FAULTS", ("cut",))
        with pytest.raises(TransferError):
            put_objects(plan.uploads[0])
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_variables["AWS_ENDPOINT_URL_S3"])
    assert dataset.upload() == (2, 1, [])


def test_an_upload_tried_again_puts_only_what_is_left(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [(str(n), n % 5 + 1, "train", bytes([n])) for n in range(1, 31)]
    dataset.hold(*photos)
    dataset.upload()
    obstore.delete(open_store(dataset.uri), [f"train/{count}/{name}.jpg" for name, count, _, _ in photos])
    (upload,) = plan_upload(dataset.workspace, dataset.uri, dataset.shards).uploads
    monkeypatch.setattr("tasks.data.upload._PUTS_IN_FLIGHT", 1)
    away = dataset.workspace.photo("20", 1)
    away.rename(away.with_suffix(".away"))
    with pytest.raises(FileNotFoundError):
        put_objects(upload)
    put = len(dataset.objects()) - 1
    assert 0 < put < 29
    away.with_suffix(".away").rename(away)
    assert put_objects(upload) == 30 - put
    assert len(dataset.objects()) == 31
