"""Photos, lists, places and transfers that are no good: each is said, and nothing else is lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tasks.data.photos
import tasks.data.tasks
from tasks.data.photos import PhotoCounts
from tasks.object_store import ensure_bucket
from tests.flows.preparing.results import RENDERED, Prepare, catalog, everything
from training.errors import FileListError, SourceError, TooManyBadPhotosError, TransferError


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
