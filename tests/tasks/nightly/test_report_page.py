"""The morning's page in a real browser."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import expect

from tasks.nightly import report as reporting
from tasks.nightly.judge import Policy
from tasks.nightly.report import Report, unjudged, write_page
from tasks.nightly.summary import Drift
from tests.browser import chromium
from tests.ledgers import count_row
from tests.tasks.nightly.test_tell import report

PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="


def row(number: int, **more: Any) -> Any:
    key = f"bins/{number:03}.jpg"
    return SimpleNamespace(**count_row(key, score=1 - number / 1000, size=1 + number / 1000, **more))


@pytest.fixture
def page_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of 300 exceptions, the first with a photo before it and a key that is markup."""
    monkeypatch.setattr(reporting, "thumbnails", lambda photos: {photo.photo: PICTURE for photo in photos})
    before = SimpleNamespace(**count_row("bins/before.jpg", expected=4, count=4))
    rows = [row(0, before=before.photo, bin="<script>fail()</script>")]
    rows += [row(n, verdict="uncertain" if n % 3 else "mismatch", mismatch=0.5 - n / 1000) for n in range(1, 300)]
    drift = Drift(nights=5, psi=0.4, confidence_change=-0.034, alarms=["odd"], usual_mix={"3": 0.5, "4": 0.5})
    skipped = {"counted before": 12, "not a photo by its name": 3}
    whole: Report = report(mismatch=100, skipped=skipped).model_copy(
        update={
            "exceptions": rows,
            "earlier": {before.photo: before},
            "mix": {"3": 0.7, "5": 0.3},
            "drift": drift,
        }
    )
    rows[1].bin, rows[1].products = "zone 1/A-12", None
    write_page(whole, tmp_path / "report.html")
    return tmp_path / "report.html"


def test_the_page_shows_sorts_filters_and_asks_nobody(page_file: Path, tmp_path: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
        page.goto(page_file.as_uri())
        page.wait_for_selector("li img")
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert page.locator("li img").count() < 60  # pictures come as they are scrolled to
        coverage, counts = page.inner_text(".card >> nth=0"), page.inner_text(".card >> nth=1")
        assert "… counted before\t12" in coverage
        assert "… not a photo by its name\t3" in coverage
        assert "Unusual: odd." in page.locator(".alarm").all_inner_texts()
        assert "Counts tonight, and usually" in counts
        assert "-3.4 points against the last 5 nights; index of change 0.40" in counts
        assert page.locator(".mix > div").count() == 3  # what was usual and is missing tonight has its place too
        assert page.locator(".mix i.usual").count() == 3
        first = page.locator("li").first
        assert "before: record 4, counted 4" in first.inner_text()
        assert "<script>fail()" in first.get_attribute("data-bin")  # type: ignore[operator]
        assert page.inner_text("li .bin >> nth=1") == "zone 1/A-12"
        page.screenshot(path=Path(os.environ.get("BINVENTORY_SCREENSHOTS", tmp_path)) / "night.png")

        page.click("button[data-verdict=mismatch]")
        assert page.inner_text("#shown") == "100 of 300"
        page.fill("#find", "299")
        assert page.inner_text("#shown") == "0 of 300"
        page.click("button[data-verdict='']")
        assert page.inner_text("#shown") == "1 of 300"
        page.fill("#find", "")
        page.select_option("#sort", "size")
        expect(page.locator("li .rank").first).to_have_text("300")
        page.select_option("#sort", "rank")
        expect(page.locator("li .rank").first).to_have_text("1")

        page.locator("li button.frame").first.click()
        assert page.locator("dialog").is_visible()
        page.keyboard.press("Escape")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("li img").count() == 301  # on paper they are all there
        page.emulate_media(media="print")
        assert page.locator(".pen").first.is_visible()
        assert not page.locator(".bar").is_visible()


def test_bins_that_nothing_ranks_are_counted_and_listed_apart(tmp_path: Path) -> None:
    nothing = {"verdict": "uncertain", "mismatch": None}
    rows = [row(n, **nothing, record_problem="row 3 expects 'two'", expected=None) for n in range(250)]
    rows[0] = row(0, **nothing, verdict_reason="the record's 40 is beyond the model's 1-5", expected=40)
    for each in rows:
        each.score = None
    ranked = row(999, verdict="uncertain")
    assert unjudged([*rows, ranked, row(1, verdict="match")]) == rows
    whole = report(uncertain=251).model_copy(update={"unjudged": rows})
    write_page(whole, tmp_path / "report.html")
    with chromium() as browser:
        page = browser.new_page()
        page.goto((tmp_path / "report.html").as_uri())
        assert "nothing to judge by\t250" in page.inner_text(".card >> nth=0")
        listed = page.inner_text("#unjudged + section")
    assert "the record's 40 is beyond" in listed
    assert listed.count("row 3 expects 'two'") == 199
    assert "and 50 more, in the ledger" in listed


def test_a_night_without_exceptions_says_so(tmp_path: Path) -> None:
    write_page(report(), tmp_path / "quiet.html")
    assert "Nothing to check" in (tmp_path / "quiet.html").read_text()
    write_page(report(match=0, uncertain=10), tmp_path / "unjudged.html")
    said = (tmp_path / "unjudged.html").read_text()
    assert "Nothing was judged" in said
    assert "Nothing to check" not in said
    write_page(report(counted=0, match=0), tmp_path / "empty.html")
    assert "No new photos tonight" in (tmp_path / "empty.html").read_text()


def test_thresholds_are_on_the_page_only_where_it_is_known_which_held(tmp_path: Path) -> None:
    said = []
    for policy in (Policy(mismatch_from=0.4, chosen_on="600 photos"), None):
        write_page(report().model_copy(update={"policy": policy}), tmp_path / "report.html")
        said.append((tmp_path / "report.html").read_text())
    assert "A bin is a mismatch from 40%" in said[0]
    assert "(thresholds: 600 photos)" in said[0]
    assert "thresholds" not in said[1]
    assert "The underlined count is the record's" in said[1]
