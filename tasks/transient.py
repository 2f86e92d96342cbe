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
CONFLICTS = {"ConflictException", "ConcurrentUpdateException"}
"""What SageMaker and Application Auto Scaling answer a change with that came together with another one."""

CONNECTION = (
    EndpointConnectionError,
    ConnectTimeoutError,
    ConnectionClosedError,
    ReadTimeoutError,
    ResponseStreamingError,
    httpx.TransportError,
    ConnectionError,
)


def is_conflict(error: BaseException) -> bool:
    """Whether a request was refused, and did nothing, because something else was changing the same thing."""
    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in CONFLICTS


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed later: throttling, a conflict, a server error, a broken connection."""
    if isinstance(error, ClientError):
        response = error.response
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        throttled = response.get("Error", {}).get("Code") in THROTTLED or status == 429
        return throttled or is_conflict(error) or status >= 500
    return isinstance(error, CONNECTION)
