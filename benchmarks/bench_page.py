"""How large the morning's page is and how fast it opens: ``python -m benchmarks.bench_page [--exceptions 2000]``.

A page of exceptions, each with a photo and the one before it, is written as a night writes it, and opened in headless
chromium: until it is loaded, and until the first pictures are drawn. docs/nightly.md has the figures.
"""

import argparse
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from playwright.sync_api import Browser

from tasks.data.demo_photos.contents import bin_contents
from tasks.data.demo_photos.plan import plan_photos
from tasks.data.demo_photos.scene import render_photo
from tasks.nightly import report as reporting
from tasks.nightly.judge import Policy
from tasks.nightly.report import Report, write_page
from tasks.nightly.summary import Drift, NightTotals
from tasks.nightly.thumbnails import thumbnail
from tests.browser import chromium
from tests.ledgers import count_row

DISTINCT = 300
TURNS = 5


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exceptions", type=int, default=2_000)
    parser.add_argument("--photos", type=Path, help="archive of real photos; default: rendered ones")
    arguments = parser.parse_args()
    small = [thumbnail(photo) for photo in islice(_photos(arguments.photos), DISTINCT)]
    report = _report(arguments.exceptions)

    def pictures(photos: Iterable[Any]) -> dict[str, str]:
        return {photo.photo: small[number % len(small)] for number, photo in enumerate(photos)}

    with tempfile.TemporaryDirectory() as scratch, patch.object(reporting, "thumbnails", pictures):
        page = Path(scratch) / "report.html"
        start = time.perf_counter()
        write_page(report, page)
        written = time.perf_counter() - start
        with _browser() as browser:
            _open(browser, page)  # the browser warms up
            turns = [_open(browser, page) for _ in range(TURNS)]
        loaded, drawn = (statistics.median(each) for each in zip(*turns, strict=True))
        print(
            f"{arguments.exceptions:,} exceptions: {page.stat().st_size / 1e6:.1f} MB, written in {written:.2f} s; "
            f"opened in {loaded:.2f} s, first pictures after {drawn:.2f} s (medians of {TURNS})"
        )


@contextmanager
def _browser() -> Iterator[Browser]:
    try:
        with chromium() as browser:
            yield browser
    except pytest.skip.Exception as absent:
        raise SystemExit(str(absent)) from None


def _photos(archive: Path | None) -> Iterator[bytes]:
    if archive is None:
        for planned in plan_photos(DISTINCT, 0):
            yield render_photo(planned, bin_contents(planned, 0), 0)
        return
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and (content := members.extractfile(member)):
                yield content.read()


def _report(exceptions: int) -> Report:
    earlier = [SimpleNamespace(**count_row(f"bins/{n}-before.jpg")) for n in range(exceptions)]
    rows = [
        SimpleNamespace(**count_row(f"bins/{n}.jpg", score=1 - n / exceptions, before=before.photo))
        for n, before in enumerate(earlier)
    ]
    return Report(
        night="2026-11-25",
        prefix="s3://warehouse/bin-images/",
        run="261125-030000",
        model="model",
        totals=NightTotals(
            seen=20_000, new=20_000, counted=20_000, unreadable=0, uncounted=0, skipped={}, match=20_000 - exceptions,
            mismatch=exceptions, uncertain=0, without_record=0,
        ),
        policy=Policy(),
        drift=Drift(nights=0),
        mix={"3": 1.0},
        confidence=0.5,
        exceptions=rows,
        left_out=0,
        earlier={row.photo: row for row in earlier},
        unreadable=[],
        uncounted=[],
    )  # fmt: skip


def _open(browser: Browser, file: Path) -> tuple[float, float]:
    """Seconds until the page is loaded, and until its first picture is drawn."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.perf_counter()
    page.goto(file.as_uri())
    loaded = time.perf_counter() - start
    page.wait_for_function("document.querySelector('li img')?.complete")
    drawn = time.perf_counter() - start
    page.close()
    return loaded, drawn


if __name__ == "__main__":
    main()
