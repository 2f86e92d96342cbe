"""Where the review page listens: loopback, or elsewhere with a token."""

import datetime as dt
import ipaddress
import secrets
import socket

import uvicorn
from pydantic import BaseModel, ConfigDict, Field

from tasks.ledger.ledger import Ledger
from tasks.review.app import Review, make_app
from training.errors import ReviewError


class ReviewParameters(BaseModel):
    """Count flagged bins by eye, in a browser."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", title="Host", description="Address to listen on; elsewhere than here takes a token.")
    port: int = Field(8765, ge=0, le=65535, title="Port", description="Port to listen on; 0 takes any that is free.")
    names: tuple[str, ...] = Field(
        (), title="Names", description="More host names that the page is opened by, such as counting.warehouse.lan."
    )
    since: dt.date | None = Field(None, title="Since", description="Only photos flagged on this night or later.")
    export: str | None = Field(
        None, title="Export", description="Write the settled answers as labels to this Parquet file, and end."
    )
    export_ledger: str | None = Field(
        None,
        title="Export ledger",
        description="Write every row of the ledger, of all nights, with its answers to this Parquet file, and end.",
    )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_review(parameters: ReviewParameters, ledger: Ledger) -> Review:
    """Return what the page works on; a token is made where others can reach it."""
    names = {_in_a_url(parameters.host), "localhost", "127.0.0.1", *parameters.names}
    if is_loopback(parameters.host):
        return Review(ledger, tuple(sorted(names)), None, parameters.since)
    # Behind a token it does not matter by which name the page is asked for.
    return Review(ledger, ("*",), secrets.token_urlsafe(24), parameters.since)


def _in_a_url(host: str) -> str:
    """A host as browsers name it: an IPv6 address is shortened, and in brackets."""
    return f"[{ipaddress.ip_address(host).compressed}]" if ":" in host else host


def open_socket(parameters: ReviewParameters) -> socket.socket:
    """Listen.

    Raises:
        ReviewError: the address is not this machine's, or the port is taken.
    """
    try:
        return socket.create_server(
            (parameters.host, parameters.port), family=socket.AF_INET6 if ":" in parameters.host else socket.AF_INET
        )
    except OSError as error:
        raise ReviewError(f"cannot listen on {parameters.host}:{parameters.port}: {error.strerror or error}") from error


def serve(review: Review, listening: socket.socket) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(make_app(review), log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listening])
