"""What a night finds of errors that were planted in its record: ``python -m benchmarks.planted_night RUN``.

RUN is the folder of a full pipeline's run that ended, ``.binventory/runs/<run>``. Photos of its test split, which no
training has seen, are put under a prefix of their own with their record, which for 5 % of the bins is made wrong by one
to three objects, the same for all photos of a bin: a record that is off stays off from one pick to the next. The
nightly count runs over them, with the newest approved model; then once more, which has to count nothing; then with 100
photos more, which has to count those.
"""

import argparse
import csv
import json
import os
import random
from pathlib import Path

from benchmarks.accuracy_on_list import CLASSES
from benchmarks.bench_nights import services
from flows.nightly_count import nightly_count
from tasks.data.catalog import read_usable
from tasks.data.prepared_data import PreparedData
from tasks.data.split_photos import list_photos
from tasks.data.workspace import Workspace
from tasks.nightly.held_back import bring, records_of
from tasks.nightly.parameters import NightParameters
from tasks.nightly.thresholds import plant_errors
from tasks.run_record import result_file
from tasks.settings import settings

RATE, FIRST = 0.05, 50


def main() -> None:
    """Plant, count, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of the full pipeline")
    parser.add_argument("--photos", type=int, default=1000, help="of the first night (default: 1000)")
    parser.add_argument("--later", type=int, default=100, help="photos that come in after it (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of photos and of the errors")
    parser.add_argument("--in-range", action="store_true", help="only photos with 1-5 objects, and records of 1-5")
    given = parser.parse_args()
    with services(given.run.resolve().parent.parent):
        measure(PreparedData.model_validate_json(result_file(given.run, "prepare").read_text()), given)


def measure(data: PreparedData, given: argparse.Namespace) -> None:
    """Three nights."""
    classes = CLASSES if given.in_range else ()
    photos = [photo for photo in list_photos(data, "test") if not classes or photo.count in classes]
    random.Random(given.seed).shuffle(photos)
    photos, later = photos[: given.photos], photos[given.photos : given.photos + given.later]
    records = records_of(data, photos)
    bins = bins_of(data)
    truth = [photo.count for photo in photos]
    record = plant_errors(truth, RATE, given.seed, classes, [bins[photo.photo_id] for photo in photos])
    for photo, expected in zip(photos, record, strict=True):
        records[photo]["EXPECTED_QUANTITY"] = expected
    off = {bins[photo.photo_id]: abs(a - b) for photo, a, b in zip(photos, truth, record, strict=True)}
    uri = f"s3://{settings().bucket}/planted/{os.getpid()}-{given.seed}"
    bring(data, records, uri)
    counted, ranked = night(uri)
    tell(counted, off, [bins[photo] for photo in ranked])
    print(f"once more: {night(uri)[0]} counted")
    bring(data, records_of(data, later), uri)
    print(f"{len(later)} photos later: {night(uri)[0]} counted")


def night(uri: str) -> tuple[int, list[str]]:
    """Count what is new; how many photos that were, and the ids of all exceptions of the day, best bets first."""
    run = nightly_count(NightParameters(prefix=f"{uri}/bin-images/"))
    folder = settings().runs / str(run)
    with (folder / "exceptions.csv").open(newline="") as file:
        ranked = [Path(row["key"]).stem for row in csv.DictReader(file)]
    return json.loads((folder / "summary.json").read_text())["night"]["new"], ranked


def bins_of(data: PreparedData) -> dict[str, str]:
    """The bin that each photo shows, by the photo's id."""
    tables = read_usable(Workspace(data.folder), ["id", "bin_group"])
    return {row["id"]: row["bin_group"] for table in tables for row in table.to_pylist()}


def tell(counted: int, off: dict[str, int], ranked: list[str]) -> None:
    """Print what checking the first exceptions would find, of how wrong the record of each bin is."""
    wrong, large = sum(map(bool, off.values())), {name for name, by in off.items() if by >= 2}
    print(f"{counted} photos of {len(off)} bins counted, {wrong} records wrong, {len(large)} of them by two or more")
    print(f"{len(ranked)} exceptions, of {len({*ranked})} bins")
    for first in (FIRST // 2, FIRST):
        share = sum(bool(off[name]) for name in ranked[:first]) / first
        print(f"of the first {first}, {share:.0%} are wrong: {share * len(off) / wrong:.1f} times as many as by chance")
    tenth = len(off) // 10
    found = len(large & {*ranked[:tenth]})
    print(f"of the errors of two or more, {found / len(large):.0%} are among the first {tenth}")


if __name__ == "__main__":
    main()
