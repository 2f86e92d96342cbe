"""The review as a web page: rendered here, one form a photo, a little script for the keyboard."""

import dataclasses
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unicodedata import normalize
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tasks.ledger.ledger import Ledger
from tasks.nightly.photos import s3_client
from tasks.review import queue
from tasks.review.gone import next_photo
from tasks.review.pictures import picture_of
from tasks.review.queue import LAST_NIGHTS, Scope
from training.errors import LedgerError, ReviewError

log = logging.getLogger(__name__)
REVIEWER, TOKEN, ANSWERED = "binventory_reviewer", "binventory_token", "binventory_answered"
LARGEST_FORM = 4096
_MOST_UNDONE = 20
_YEAR = 365 * 24 * 3600
_SAMESITE: Literal["lax"] = "lax"
"""Strict cookies are not sent after a redirect where the link was opened from a mail; forms are guarded by origin."""
_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; form-action 'self'"
)


class _Reviewer(NamedTuple):
    """Who counts, and at which browser: two people of one name are not asked about the same photo at once."""

    name: str
    browser: str


@dataclasses.dataclass(frozen=True)
class Review:
    """What the page works on.

    Attributes:
        ledger: where photos and answers are.
        hosts: names that the page may be asked for by; a foreign page's script cannot pretend to be one.
        token: what has to be known to get in; None on loopback.
        scope: the photos that are asked about.
    """

    ledger: Ledger
    hosts: tuple[str, ...]
    token: str | None = None
    scope: Scope = LAST_NIGHTS


def make_app(review: Review) -> Starlette:
    """Return the application."""
    pages = _Pages(review)
    return Starlette(
        routes=[
            Route("/", pages.guarded(pages.home)),
            Route("/enter", pages.guarded(pages.enter), methods=["POST"]),
            Route("/review", pages.guarded(pages.review)),
            Route("/answer", pages.guarded(pages.answer), methods=["POST"]),
            Route("/undo", pages.guarded(pages.undo), methods=["POST"]),
            Route("/photo/{photo}", pages.guarded(pages.photo)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(review.hosts))],
    )


_NO_LEDGER = "The ledger does not answer. Load the page again in a minute; if it lasts, tell whoever started this page."
Handler = Callable[[Request], Awaitable[Response]]


class _Pages:
    def __init__(self, review: Review) -> None:
        self._review = review
        self._ledger = review.ledger
        self._s3, self._quick_s3 = s3_client(), s3_client(retries=1)
        loader = FileSystemLoader(Path(__file__).parent / "templates")
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)

    def guarded(self, handler: Handler) -> Handler:
        """Let in who knows the token, and forms that come from this page only."""

        async def guard(request: Request) -> Response:
            token = self._review.token
            if token is not None:
                given = request.query_params.get("token", "")
                if given and hmac.compare_digest(given.encode(), token.encode()):
                    answer: Response = RedirectResponse("/", 303)
                    answer.set_cookie(TOKEN, token, max_age=_YEAR, httponly=True, samesite=_SAMESITE)
                    return answer
                if not hmac.compare_digest(request.cookies.get(TOKEN, "").encode(), token.encode()):
                    return self._page(
                        "message.html", 403, title="Not yet", text="Open the link that the program printed."
                    )
            origin = request.headers.get("origin")
            if request.method == "POST" and origin and urlsplit(origin).netloc != request.headers.get("host"):
                return self._page("message.html", 403, title="Refused", text="That form came from another page.")
            try:
                return await handler(request)
            except ReviewError as error:
                return self._page("message.html", 400, title="That does not work", text=str(error))
            except LedgerError as error:
                log.error("%s", error)  # noqa: TRY400 - its reader is whoever started the page, and it says enough
                return self._page("message.html", 503, title="Not now", text=_NO_LEDGER)

        return guard

    async def home(self, request: Request) -> Response:
        reviewer = _reviewer(request)
        return self._page("enter.html", name=reviewer.name if reviewer else "")

    async def enter(self, request: Request) -> Response:
        name = " ".join(normalize("NFKC", (await _form(request)).get("name", "")).split())
        if not 1 <= len(name) <= 40 or not name.isprintable():
            raise ReviewError("A name has 1 to 40 letters.")
        before = _reviewer(request)
        browser = (before and before.browser) or secrets.token_hex(8)
        answer = RedirectResponse("/review", 303)
        answer.set_cookie(
            REVIEWER, f"{name.encode().hex()}.{browser}", max_age=_YEAR, httponly=True, samesite=_SAMESITE
        )
        if before and before.name != name:
            answer.delete_cookie(ANSWERED)
        return answer

    async def review(self, request: Request) -> Response:
        reviewer = _reviewer(request)
        if reviewer is None:
            return RedirectResponse("/", 303)
        return await run_in_threadpool(self._next, reviewer, request.query_params.get("again"), _answered(request))

    def _next(self, reviewer: _Reviewer, again: str | None, answered: Sequence[str]) -> Response:
        name, browser = reviewer
        undo = answered[-1] if answered else None
        item = queue.claim(self._ledger, again, name, browser) if again else None
        item = item or next_photo(self._ledger, name, self._review.scope, self._quick_s3, browser)
        done = queue.progress(self._ledger, name, self._review.scope)
        if item is None:
            return self._page("done.html", progress=done, undo=undo)
        last = self._ledger.latest([item.row.before]).get(item.row.before) if item.row.before else None
        return self._page("review.html", item=item.row, last=last, progress=done, reviewer=name, undo=undo)

    async def answer(self, request: Request) -> Response:
        reviewer, form = _reviewer(request), await _form(request)
        if reviewer is None:
            return RedirectResponse("/", 303)
        photo = form.get("photo", "")
        said = (photo, reviewer.name, form.get("answer", ""), reviewer.browser)
        await run_in_threadpool(queue.answer, self._ledger, *said)
        others = [other for other in _answered(request) if other != photo]
        return _with_answered(RedirectResponse("/review", 303), [*others, photo])

    async def undo(self, request: Request) -> Response:
        reviewer, photo = _reviewer(request), (await _form(request)).get("photo", "")
        if reviewer is None:
            return RedirectResponse("/", 303)
        again = await run_in_threadpool(queue.undo, self._ledger, photo, *reviewer)
        others = [other for other in _answered(request) if other != photo]
        return _with_answered(RedirectResponse(f"/review?again={again}" if again else "/review", 303), others)

    async def photo(self, request: Request) -> Response:
        return await run_in_threadpool(self._picture, request.path_params["photo"])

    def _picture(self, photo: str) -> Response:
        row = self._ledger.latest([photo]).get(photo)
        if row is None:
            return Response("no such photo", 404)
        body, status = picture_of(row, self._s3)
        keeping = "private, max-age=3600" if status == 200 else "no-store"
        return Response(body, status, {"Cache-Control": keeping}, "image/jpeg")

    def _page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        nonce = secrets.token_urlsafe(12)
        page = self._templates.get_template(template).render(nonce=nonce, **values)
        headers = {
            "Content-Security-Policy": _POLICY.format(nonce=nonce),
            "Cache-Control": "no-store",
            "Referrer-Policy": "same-origin",
            "X-Frame-Options": "DENY",
        }
        return HTMLResponse(page, status, headers)


def _reviewer(request: Request) -> _Reviewer | None:
    name, _, browser = request.cookies.get(REVIEWER, "").partition(".")
    try:
        return _Reviewer(bytes.fromhex(name).decode(), browser[:32]) if name else None
    except ValueError:
        return None


def _answered(request: Request) -> list[str]:
    """The photos that were answered in this browser, newest last: a name is shared, and undo is for one's own taps."""
    return [photo for photo in request.cookies.get(ANSWERED, "").split(".") if photo]


def _with_answered(response: Response, photos: Sequence[str]) -> Response:
    response.set_cookie(ANSWERED, ".".join(photos[-_MOST_UNDONE:]), max_age=_YEAR, httponly=True, samesite=_SAMESITE)
    return response


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_FORM:
            raise ReviewError("The form is too long.")
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
