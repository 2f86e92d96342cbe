"""What a model's handlers may ask about a request, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RequestContext:
    """What handlers may ask about a request: the part of the model server's context that user scripts use."""

    model_dir: str
    request_headers: Mapping[str, str] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)

    @property
    def system_properties(self) -> dict[str, Any]:
        """Where the model lies, under the names that AWS's model server uses."""
        return {"model_dir": self.model_dir, "gpu_id": None}

    @property
    def request_processor(self) -> list[RequestContext]:
        """The request itself, at index 0, as AWS's model server offers it."""
        return [self]

    def get_request_properties(self) -> Mapping[str, str]:
        """The request's headers."""
        return self.request_headers

    def get_request_header(self, _index: int, key: str) -> str | None:
        """One header of the request, whatever its case; None when it was not sent."""
        wanted = key.lower()
        return next((value for name, value in self.request_headers.items() if name.lower() == wanted), None)

    def set_response_header(self, _index: int, key: str, value: str) -> None:
        """Add a header to the response."""
        self.response_headers[key] = value

    def set_response_content_type(self, _index: int, value: str) -> None:
        """Set the response's content type."""
        self.response_headers["Content-Type"] = value


@dataclass(frozen=True)
class Reply:
    """An answer to one request."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
