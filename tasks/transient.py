"""Which failures are worth another try. Prefect is not needed to ask: chunk workers do."""

import httpx
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
)

THROTTLED = {
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "SlowDown",
    "ServiceUnavailable",
    "InternalFailure",
    "InternalServerError",
}
CONNECTION = (
    EndpointConnectionError,
    ConnectTimeoutError,
    ConnectionClosedError,
    ReadTimeoutError,
    ResponseStreamingError,
    httpx.TransportError,
    ConnectionError,
)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed later: throttling, a server error, a broken connection."""
    if isinstance(error, ClientError):
        response = error.response
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return response.get("Error", {}).get("Code") in THROTTLED or status == 429 or status >= 500
    return isinstance(error, CONNECTION)
