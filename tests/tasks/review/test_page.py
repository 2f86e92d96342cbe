"""The review page in a real browser, and what its server refuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Answer, Count
from tasks.review.serve import ReviewParameters, make_review
from tests.browser import chromium
from tests.tasks.review.conftest import Server


def enter(browser: Browser, server: Server, name: str, **size: int) -> Page:
    """A new person at a browser of their own."""
    context = browser.new_context(viewport={"width": size.get("width", 1180), "height": size.get("height", 820)})
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    page.goto(server.address)
    page.fill("input[name=name]", name)
    page.click("text=Start")
    return page


@contextmanager
def next_page(page: Page) -> Iterator[None]:
    """Wait until what the block does has led to another page."""
    origin = page.evaluate("performance.timeOrigin")
    yield
    page.wait_for_function(
        "origin => performance.timeOrigin !== origin && document.readyState === 'complete'", arg=origin
    )


def press(page: Page, key: str) -> None:
    with next_page(page):
        page.keyboard.press(key)


def shown(page: Page) -> str:
    return page.get_attribute("input[name=photo]", "value") or ""


def answers(ledger: Ledger) -> list[tuple[str, str, bool]]:
    rows = sorted(ledger.rows(Answer), key=lambda row: row.answered_at)
    return [(row.reviewer, row.answer, row.withdrawn_at is not None) for row in rows]


def test_two_people_count_with_fingers_and_keys_until_nothing_is_left(
    server: Server, ledger: Ledger, tmp_path: Path
) -> None:
    with chromium() as browser:
        ann, bob = enter(browser, server, "Ann Ö"), enter(browser, server, "bob", width=768, height=1024)
        assert shown(ann) != shown(bob)
        ann.wait_for_load_state("load")  # its photos too
        photos = ann.locator("img")
        assert photos.count() == 2  # the photo, and the one before it
        for number in range(2):
            assert photos.nth(number).evaluate("image => image.complete && image.naturalWidth") > 100
        said = ann.inner_text("body")
        assert "5" not in said.replace("\n5\n", "\n").replace("0-9", "")  # what the record expects is hidden
        ann.screenshot(path=tmp_path / "review.png")
        bob.screenshot(path=tmp_path / "tablet.png")
        buttons = bob.locator("#pad button")
        assert buttons.count() == 12
        for number in range(12):
            box = buttons.nth(number).bounding_box()
            assert box
            assert min(box["width"], box["height"]) >= 44  # wide enough for a finger
            assert box["y"] + box["height"] <= 1024  # and in sight without scrolling

        first = shown(ann)
        with next_page(ann):
            ann.click("#pad button[value='5']")
        assert answers(ledger) == [("Ann Ö", "5", False)]
        assert "1 of 4 done" in ann.inner_text("#progress")
        assert shown(ann) not in (first, shown(bob))
        press(ann, "u")
        assert shown(ann) == first
        assert answers(ledger) == [("Ann Ö", "5", True)]
        press(ann, "3")
        assert answers(ledger) == [("Ann Ö", "3", False)]
        for page, key in ((bob, "m"), (ann, "5"), (bob, "5"), (ann, "?")):
            press(page, key)
        # Bob's "10 or more" contradicted record and model, and went to Ann; what she could not tell stays with Bob.
        assert "Nothing left for you" in ann.inner_text("h1")
        ann.screenshot(path=tmp_path / "done.png")
        assert len(answers(ledger)) == 5


def test_no_other_page_and_no_stranger_gets_in(server: Server, ledger: Ledger) -> None:
    client = httpx.Client(base_url=server.address, cookies={"binventory_reviewer": b"eve".hex()})
    form = {"photo": next(ledger.rows(Count)).photo, "answer": "3"}
    assert client.post("/answer", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/review", headers={"Host": "evil.example"}).status_code == 400  # DNS rebinding
    assert client.post("/answer", data=form | {"answer": "99"}).status_code == 400
    assert client.post("/answer", content=b"answer=" + b"3" * 10_000).status_code == 400
    assert client.get("/photo/../../etc/passwd").status_code == 404
    assert client.get(f"/photo/{'0' * 32}").status_code == 404
    assert answers(ledger) == []
    page = client.get("/review")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    odd = httpx.get(f"{server.address}/", cookies={"binventory_reviewer": b"<b>x</b>".hex()}).text
    assert "<b>x</b>" not in odd


def test_elsewhere_than_on_loopback_a_token_is_needed(ledger: Ledger, photos: None) -> None:
    assert make_review(ReviewParameters(), ledger).token is None
    open_to_others = Server(ledger, ReviewParameters(host="0.0.0.0"))  # noqa: S104 - what is tested
    try:
        token = open_to_others.review.token
        assert token
        assert len(token) >= 24
        client = httpx.Client(base_url=open_to_others.address)
        for path in ("/", "/review", f"/photo/{'0' * 32}", "/?token=wrong"):
            assert client.get(path).status_code == 403
        assert client.post("/answer", data={"photo": "x", "answer": "1"}).status_code == 403
        assert client.get(f"/?token={token}").status_code == 303
        assert client.get("/").status_code == 200
    finally:
        open_to_others.stop()
