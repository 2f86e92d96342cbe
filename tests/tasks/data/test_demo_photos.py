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
from tasks.data.demo_photos.bucket import stage_demo_bucket
from tasks.data.demo_photos.contents import bin_contents, metadata_record
from tasks.data.demo_photos.plan import COUNT_SHARES, plan_photos
from tasks.data.demo_photos.scene import render_photo
from tasks.data.file_list import read_file_list
from tasks.data.jpeg import check_jpeg
from tasks.data.photo_ids import numbering_of
from tasks.object_store import ensure_bucket, open_store
from tests.tasks.data.faulty_uploads import faulty_uploads
from training.errors import TransferError

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


def test_the_bucket_is_filled_once_grows_shrinks_and_is_renewed(s3: Path) -> None:
    folder = s3 / "demo-bucket"

    def stage(photos: int, seed: int = 0) -> tuple[int, int, int]:
        rendered = stage_demo_bucket("s3://demo-bucket", photos=photos, seed=seed)
        listed = read_file_list("s3://demo-bucket/file_list.json")
        return rendered, len(list((folder / "bin-images").iterdir())), listed.num_rows

    listed = {n: sum(1 <= photo.count <= 5 for photo in plan_photos(n, 0)) for n in (12, 20)}
    assert stage(20) == (20, 20, listed[20])
    first = {path.name: path.read_bytes() for path in (folder / "bin-images").iterdir()}
    assert stage(20) == (0, 20, listed[20])
    obstore.delete(open_store("s3://demo-bucket"), f"bin-images/{PLAN[3].id}.jpg")
    assert stage(20) == (1, 20, listed[20])
    assert {path.name: path.read_bytes() for path in (folder / "bin-images").iterdir()} == first
    assert stage(12) == (0, 12, listed[12])
    assert stage(20, seed=1)[:2] == (20, 20)
    assert {path.name: path.read_bytes() for path in (folder / "bin-images").iterdir()} != first


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
