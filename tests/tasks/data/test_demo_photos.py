"""Rendered bins: in ABID's layout, seeded, with the traps of the real data."""

import io
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import obstore
import pytest
from PIL import Image

from tasks.data.bin_groups import bin_groups
from tasks.data.bin_metadata import read_record
from tasks.data.demo_photos.bucket import demo_folder, stage_demo_bucket
from tasks.data.demo_photos.contents import bin_contents, metadata_record
from tasks.data.demo_photos.plan import COUNT_SHARES, plan_photos
from tasks.data.demo_photos.scene import render_photo
from tasks.data.file_list import read_file_list
from tasks.data.jpeg import check_jpeg
from tasks.data.photo_ids import numbering_of
from tasks.object_store import ensure_bucket, open_store
from tests.tasks.data.faulty_uploads import faulty_uploads
from training.errors import DataError, TransferError

PLAN = plan_photos(6000, 0)


def test_counts_have_abids_shares_and_ids_its_two_numberings() -> None:
    shares = Counter(photo.count for photo in PLAN)
    assert all(abs(shares[count] / len(PLAN) - share) < 0.025 for count, share in COUNT_SHARES.items())
    assert len({photo.id for photo in PLAN}) == len(PLAN)
    widths = Counter(numbering[0] for photo in PLAN if (numbering := numbering_of(photo.id)))
    assert set(widths) == {0, 5}
    assert any(str(int(photo.id)) != photo.id and str(int(photo.id)) in {p.id for p in PLAN} for photo in PLAN)


def test_a_shorter_plan_is_the_start_of_a_longer_one_and_seeds_differ() -> None:
    assert plan_photos(100, 0) == PLAN[:100]
    assert plan_photos(100, 1) != PLAN[:100]


def test_before_and_after_sets_can_be_told_by_ids_and_products() -> None:
    few = PLAN[:2000]
    products = [set(metadata_record(p, bin_contents(p, 0), 0)["BIN_FCSKU_DATA"]) for p in few]
    groups = bin_groups([p.id for p in few], products)
    pairs = set(zip(groups, (p.bin for p in few), strict=True))
    assert len(pairs) == len(set(groups)) == len({p.bin for p in few})
    in_sets = sum(size for size in Counter(p.bin for p in few).values() if size > 1)
    assert 0.65 < in_sets / len(few) < 0.85


def test_records_are_read_as_real_ones_are() -> None:
    flags: Counter[str] = Counter()
    for photo in PLAN[:500]:
        body = json.dumps(metadata_record(photo, bin_contents(photo, 0), 0)).encode()
        row = read_record(photo.id, body, "")
        assert row["count"] == photo.count
        flags.update(row["flags"])
    assert set(flags) <= {"measure_absent", "quantity_differs"}


def pixels(photo: object, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    body = render_photo(photo, bin_contents(photo, seed), seed)  # type: ignore[arg-type]
    return np.asarray(Image.open(io.BytesIO(body)).convert("L").resize((64, 48)), dtype=float)


def test_a_photo_is_whole_and_the_same_every_time() -> None:
    photo = PLAN[0]
    body = render_photo(photo, bin_contents(photo, 0), 0)
    check_jpeg(body)
    assert body == render_photo(photo, bin_contents(photo, 0), 0)
    assert body != render_photo(photo, bin_contents(photo, 1), 1)


def test_twins_look_alike_and_strangers_do_not() -> None:
    twins = [(a, b) for a, b in pairwise(PLAN[:300]) if a.bin == b.bin][:12]

    def likeness(a: object, b: object) -> float:
        return float(np.corrcoef(pixels(a).ravel(), pixels(b).ravel())[0, 1])

    alike = np.median([likeness(a, b) for a, b in twins])
    strangers = np.median([likeness(a, c) for (a, _), (c, _) in pairwise(twins)])
    assert alike > strangers + 0.2


def test_more_objects_show_more(request: pytest.FixtureRequest) -> None:
    """A straight line through the simplest of measures already tells many from few."""
    few, many = ([p for p in PLAN if p.count in counts][:25] for counts in ((0, 1), (6, 7, 8)))

    def edges(photo: object) -> float:
        return float(np.abs(np.diff(pixels(photo), axis=1)).mean())

    assert np.median([edges(p) for p in many]) > 1.2 * np.median([edges(p) for p in few])


def stage(bucket: str, photos: int, seed: int = 0) -> tuple[int, dict[str, bytes]]:
    """Fill a demo's bucket; returns how many photos were rendered, and those that are in their folder now."""
    rendered = stage_demo_bucket(f"s3://{bucket}", photos=photos, seed=seed)
    place = demo_folder(f"s3://{bucket}", photos=photos, seed=seed)
    listed = read_file_list(f"{place}/file_list.json").num_rows
    assert listed == sum(1 <= photo.count <= 5 for photo in plan_photos(photos, seed))
    store = open_store(f"{place}/bin-images")
    keys = [entry["path"] for page in obstore.list(store) for entry in page]
    return rendered, {key: bytes(obstore.get(store, key).bytes()) for key in keys}


@pytest.mark.usefixtures("s3")
def test_the_bucket_is_filled_once_and_what_is_missing_is_rendered_again() -> None:
    rendered, first = stage("demo-bucket", 20)
    assert rendered == len(first) == 20
    assert stage("demo-bucket", 20) == (0, first)
    place = demo_folder("s3://demo-bucket", photos=20, seed=0)
    obstore.delete(open_store(place), f"bin-images/{PLAN[3].id}.jpg")
    assert stage("demo-bucket", 20) == (1, first)


def test_two_demo_datasets_leave_each_others_photos(s3: Path) -> None:
    _, first = stage("demo-shared", 20)
    obstore.put(open_store("s3://demo-shared"), "bin-images/1.jpg", b"as earlier versions had them")
    before = {path: path.read_bytes() for path in (s3 / "demo-shared").rglob("*") if path.is_file()}
    assert len(before) == 43
    _, fewer = stage("demo-shared", 12)
    rendered, others = stage("demo-shared", 20, seed=1)
    assert all(path.read_bytes() == body for path, body in before.items())
    assert fewer.items() < first.items()
    assert rendered == len(others) == 20
    assert others != first


def test_a_bucket_that_is_not_the_demos_is_refused_and_left_alone(s3: Path) -> None:
    ensure_bucket("s3://warehouse-demo")
    obstore.put(open_store("s3://warehouse-demo"), "bin-images/5.jpg", b"a photo of theirs")
    with pytest.raises(DataError, match=r"s3://warehouse-demo .* did not put there"):
        stage_demo_bucket("s3://warehouse-demo", photos=10, seed=0)
    assert [path.name for path in (s3 / "warehouse-demo").rglob("*") if path.is_file()] == ["5.jpg"]


def test_a_demo_that_was_killed_before_its_first_photo_goes_on(s3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.data.demo_photos.bucket._render_into", killed)
        with pytest.raises(KeyboardInterrupt):
            stage("demo-killed", 10)
    assert [path.name for path in (s3 / "demo-killed").rglob("*") if path.is_file()] == ["recipe.json"]
    assert stage("demo-killed", 10)[0] == 10


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_cannot_be_filled_for_now_is_worth_another_try(
    s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_bucket("s3://demo-failing")
    monkeypatch.setattr("tests.tasks.data.faulty_uploads.FAULTS", ("refused",))
    with faulty_uploads(s3_variables["AWS_ENDPOINT_URL_S3"], rate=1.0) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        with pytest.raises(TransferError, match=r"s3://demo-failing: .* 503"):
            stage_demo_bucket("s3://demo-failing", photos=10, seed=0)
