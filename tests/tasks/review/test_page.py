"""The review page in a real browser, and what its server refuses."""

import asyncio
import datetime as dt
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from pydantic import ValidationError
from sqlalchemy import create_engine, text

from tasks.ledger.database import writing
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Answer, Count
from tasks.review.app import make_app
from tasks.review.serve import ReviewParameters, make_review
from tests.browser import chromium
from tests.ledgers import MOMENT, count_row
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
        pictures = Path(os.environ.get("BINVENTORY_SCREENSHOTS", tmp_path))
        ann.screenshot(path=pictures / "review.png")
        bob.screenshot(path=pictures / "tablet.png")
        buttons = bob.locator("#pad button")
        assert buttons.count() == 12
        for number in range(12):
            box = buttons.nth(number).bounding_box()
            assert box
            assert min(box["width"], box["height"]) >= 44  # wide enough for a finger
            assert box["y"] + box["height"] <= 1024  # and in sight without scrolling

        undo = bob.locator("#undo button").bounding_box()
        assert undo
        assert min(undo["width"], undo["height"]) >= 44
        assert undo["y"] + undo["height"] <= 1024

        first = shown(ann)
        with next_page(ann):
            ann.click("#pad button[value='5']")
        assert answers(ledger) == [("ann ö", "5", False)]
        assert "1 of 4 done" in ann.inner_text("#progress")
        assert shown(ann) not in (first, shown(bob))
        press(ann, "u")
        assert shown(ann) == first
        assert answers(ledger) == [("ann ö", "5", True)]
        press(ann, "3")
        assert answers(ledger) == [("ann ö", "3", False)]
        for page, key in ((bob, "m"), (ann, "5"), (bob, "5"), (ann, "?")):
            press(page, key)
        # Bob's "10 or more" contradicted record and model, and went to Ann; what she could not tell stays with Bob.
        assert "Nothing left for you" in ann.inner_text("h1")
        ann.screenshot(path=pictures / "done.png")
        assert len(answers(ledger)) == 5
        press(ann, "u")
        assert [said for _, said, withdrawn in answers(ledger) if withdrawn] == ["unclear"]

        # A second tap before the next page is there does nothing, on either form.
        sent = """id => {
            const form = document.getElementById(id), stopped = [];
            const note = event => { stopped.push(event.defaultPrevented); event.preventDefault(); };
            addEventListener("submit", note);
            for (let tap = 0; tap < 2; tap++) form.requestSubmit(form.querySelector("button"));
            removeEventListener("submit", note);
            dispatchEvent(new PageTransitionEvent("pageshow"));
            return stopped;
        }"""
        assert [ann.evaluate(sent, form) for form in ("undo", "pad")] == [[False, True]] * 2


def test_nothing_on_the_page_tells_what_record_and_model_say(server: Server, ledger: Ledger) -> None:
    def page() -> str:
        html = httpx.get(f"{server.address}/review", cookies={"binventory_reviewer": b"ann".hex()}).text
        return re.sub('nonce="[^"]*"', "", html)

    before, [first] = page(), [row for row in ledger.rows(Count) if row.photo_id == "0"]
    other: dict[str, Any] = {"expected": 47, "count": 1, "confidence": 0.9, "probabilities": {"1": 0.9, "47": 0.1}}
    other |= {"mismatch": 0.93, "size": 41.0, "products": ["Z"], "reason": "odd", "verdict_reason": "odder"}
    ledger.upsert_counts([dict(first._mapping) | other])
    assert page() == before


def test_a_photo_that_cannot_be_shown_says_so_in_its_place(server: Server, ledger: Ledger) -> None:
    gone, elsewhere = count_row("bins/gone.jpg"), count_row("bins/0.jpg", etag="e9", bucket="no-such-bucket")
    replaced = count_row("bins/1.jpg", etag="of the bytes that were counted")
    ledger.upsert_counts([gone, elsewhere, replaced])
    for row, status in ((gone, 404), (elsewhere, 503), (replaced, 404)):
        answer = httpx.get(f"{server.address}/photo/{row['photo']}")
        assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")
        assert Image.open(io.BytesIO(answer.content)).size == (960, 720)


def test_photos_that_are_gone_leave_the_queue_by_themselves_and_are_counted(
    server: Server, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    gone = [count_row(f"bins/gone-{number}.jpg", score=9.0) for number in range(30)]
    replaced = count_row("bins/3.jpg", etag="e8", counted_at=MOMENT + dt.timedelta(days=1), score=8.0)
    elsewhere = count_row("bins/0.jpg", etag="e9", bucket="no-such-bucket", score=7.0)  # another cloud's, perhaps
    ledger.upsert_counts([*gone, replaced, elsewhere])
    page = httpx.get(f"{server.address}/review", cookies={"binventory_reviewer": b"ann".hex()}).text
    assert elsewhere["photo"] in page
    assert "31 of 35 done (31 are gone)" in page
    assert "31 flagged photos are gone from S3" in caplog.text
    assert {(row.reviewer, row.answer) for row in ledger.rows(Answer)} == {("", "gone")}


def test_the_page_is_served_on_loopback_of_ipv6(ledger: Ledger, s3: Path) -> None:
    async def status(host: str, asked_for: str) -> int:
        app = httpx.ASGITransport(make_app(make_review(ReviewParameters(host=host), ledger)))
        async with httpx.AsyncClient(transport=app) as client:
            return (await client.get(f"http://{asked_for}:8765/")).status_code

    for host in ("::1", "0:0:0:0:0:0:0:1"):
        assert asyncio.run(status(host, "[::1]")) == 200
        assert asyncio.run(status(host, "[::2]")) == 400


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "http://here", "a" * 64, "two words", "", "[::1]"])
def test_what_is_no_host_is_refused_before_anything_is_served(host: str) -> None:
    with pytest.raises(ValidationError, match="a host looks like"):
        ReviewParameters(host=host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "fe80::1%eth0", "localhost", "counting.warehouse.lan"])  # noqa: S104
def test_addresses_and_names_are_hosts(host: str) -> None:
    assert make_review(ReviewParameters(host=host), Ledger(create_engine("sqlite://"))).hosts


def test_a_ledger_that_fails_is_said_on_the_page(server: Server, ledger: Ledger) -> None:
    with writing(ledger.engine) as connection:
        connection.execute(text("DROP TABLE leases"))
    answer = httpx.get(f"{server.address}/review", cookies={"binventory_reviewer": b"ann".hex()})
    assert answer.status_code == 503
    assert "The ledger does not answer" in answer.text


def test_no_other_page_and_no_stranger_gets_in(server: Server, ledger: Ledger) -> None:
    client = httpx.Client(base_url=server.address, cookies={"binventory_reviewer": b"eve".hex()})
    form = {"photo": next(ledger.rows(Count)).photo, "answer": "3"}
    assert client.post("/answer", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/review", headers={"Host": "evil.example"}).status_code == 400  # DNS rebinding
    assert client.post("/answer", data=form | {"answer": "99"}).status_code == 400
    assert client.post("/answer", content=b"answer=" + b"3" * 10_000).status_code == 400
    for path in ("/photo/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/photo/%2e%2e", f"/photo/{'0' * 32}"):
        answer = client.get(path)
        assert answer.request.url.raw_path.decode() == path  # httpx would follow dots that are written plainly
        assert answer.status_code == 404
    assert answer.text == "no such photo"
    assert answers(ledger) == []
    page = client.get("/review")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    odd = httpx.get(f"{server.address}/", cookies={"binventory_reviewer": b"<b>x</b>".hex()}).text
    assert "<b>x</b>" not in odd


def photo_in(page: str, form: str = "pad") -> str:
    """The photo that a form of a page is about."""
    found = re.search(rf'id="{form}"><input type="hidden" name="photo" value="(\w*)"', page)
    assert found
    return found[1]


def test_two_browsers_of_one_name_get_two_photos(server: Server, ledger: Ledger) -> None:
    def photo(client: httpx.Client) -> str:
        return photo_in(client.post("/enter", data={"name": "Ann"}, follow_redirects=True).text)

    one, other = (httpx.Client(base_url=server.address) for _ in range(2))
    first = photo(one)
    assert photo(other) != first
    assert photo(one) == first  # who enters again goes on
    one.post("/answer", data={"photo": first, "answer": "4"})
    assert answers(ledger) == [("ann", "4", False)]


def test_undo_takes_back_what_was_answered_in_that_browser_one_after_the_other(server: Server, ledger: Ledger) -> None:
    one, other = (httpx.Client(base_url=server.address, follow_redirects=True) for _ in range(2))
    pages = [client.post("/enter", data={"name": "anna"}).text for client in (one, other)]
    assert 'id="undo"><input type="hidden" name="photo" value=""><button disabled>' in pages[0]
    mine, page = [], pages[0]
    for said in "12":
        mine.append(photo_in(page))
        page = one.post("/answer", data={"photo": mine[-1], "answer": said}).text
    other.post("/answer", data={"photo": photo_in(pages[1]), "answer": "9"})
    for photo in reversed(mine):
        assert photo_in(page, "undo") == photo
        page = one.post("/undo", data={"photo": photo}).text
        assert photo_in(page) == photo  # to be answered again
    assert answers(ledger) == [("anna", "1", True), ("anna", "2", True), ("anna", "9", False)]
    assert photo_in(page, "undo") == ""
    # Nor is what another person answered in this browser taken back.
    one.post("/answer", data={"photo": mine[0], "answer": "3"})
    assert photo_in(one.post("/enter", data={"name": "bob"}).text, "undo") == ""


def test_behind_a_proxy_of_another_name_a_token_is_needed_and_its_forms_are_taken(ledger: Ledger, s3: Path) -> None:
    name = "counting.warehouse.lan"
    review = make_review(ReviewParameters(names=(name,)), ledger)
    assert review.token

    async def visit() -> list[int]:
        app = httpx.ASGITransport(make_app(review))  # which a proxy that passes the name on is to the page
        async with httpx.AsyncClient(transport=app, base_url=f"https://{name}") as client:
            stranger = await client.get("/")
            entered = await client.get("/", params={"token": review.token})
            form = await client.post("/enter", data={"name": "Ann"}, headers={"Origin": f"https://{name}"})
            rebound = await client.get("/", headers={"Host": "evil.example"})
            return [answer.status_code for answer in (stranger, entered, form, rebound)]

    assert asyncio.run(visit()) == [403, 303, 303, 400]


def test_elsewhere_than_on_loopback_a_token_is_needed(ledger: Ledger, photos: dict[str, str]) -> None:
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
        with chromium() as browser:  # a link in a chat or a mail is opened from another site
            page = browser.new_page()
            page.goto(open_to_others.address.replace("127.0.0.1", "localhost"))
            assert "Not yet" in page.inner_text("h1")
            with next_page(page):
                page.evaluate("address => { location.href = address }", f"{open_to_others.address}/?token={token}")
            assert "Count what you see" in page.inner_text("h1")
    finally:
        open_to_others.stop()
