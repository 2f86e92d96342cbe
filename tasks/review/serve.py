"""Where the review page listens: loopback, or elsewhere with a token."""

import datetime as dt
import ipaddress
import re
import secrets
import socket

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.ledger.ledger import Ledger
from tasks.nightly.parameters import checked_prefix
from tasks.review.app import Review, make_app
from tasks.review.queue import Scope
from training.errors import ReviewError

_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
"""A host name; what no resolver takes, like a label of 64 letters, would be a traceback of Python's."""


class ReviewParameters(BaseModel):
    """Count flagged bins by eye, in a browser."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", title="Host", description="Address to listen on; elsewhere than here takes a token.")
    port: int = Field(8765, ge=0, le=65535, title="Port", description="Port to listen on; 0 takes any that is free.")
    names: tuple[str, ...] = Field(
        (),
        title="Names",
        description="More host names that the page is opened by, such as counting.warehouse.lan of a proxy; takes a "
        "token.",
    )
    prefix: str = Field(
        "",
        title="Prefix",
        description="Only photos under this S3 URI. Default: all, without those that pipelines held back unless there "
        "are no others.",
    )
    since: dt.date | None = Field(
        None,
        title="Since",
        description="Only photos flagged on this night or later. Default: those of the last 14 nights.",
    )
    export: str | None = Field(
        None,
        min_length=1,
        title="Export",
        description="Write the settled answers as labels to this Parquet file, and end.",
    )
    export_ledger: str | None = Field(
        None,
        min_length=1,
        title="Export ledger",
        description="Write every row of the ledger, of all nights, with its answers to this Parquet file, and end.",
    )

    @field_validator("prefix")
    @classmethod
    def _prefix_is_a_uri(cls, prefix: str) -> str:
        return prefix and checked_prefix(prefix)

    @field_validator("host")
    @classmethod
    def _host_is_one(cls, host: str) -> str:
        if _NAME.fullmatch(host) or _is_address(host):
            return host
        raise ValueError(
            f"a host looks like 127.0.0.1, ::1 or counting.warehouse.lan, not {host!r}; --port has the port"
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_review(parameters: ReviewParameters, ledger: Ledger) -> Review:
    """Return what the page works on; a token is made where others can reach it.

    They can by another name, too, as it is that of a proxy on this machine.
    """
    scope = Scope(parameters.prefix, parameters.since)
    names = {_in_a_url(parameters.host), "localhost", "127.0.0.1", *parameters.names}
    if is_loopback(parameters.host):
        token = secrets.token_urlsafe(24) if parameters.names else None
        return Review(ledger, tuple(sorted(names)), token, scope)
    # Behind a token it does not matter by which name the page is asked for.
    return Review(ledger, ("*",), secrets.token_urlsafe(24), scope)


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
