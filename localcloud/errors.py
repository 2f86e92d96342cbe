"""The errors that localcloud raises: AWS's own, sent to clients, and those of the command line."""

from typing import Any


class LocalCloudError(Exception):
    """Something that the person at the command line has to know; printed without a traceback."""


class AwsError(Exception):
    """An error that a client receives as AWS would send it.

    ``code`` is AWS's error code, ``status`` the HTTP status, ``members`` further members of the error shape
    (``ModelError`` has some). A status of None takes the protocol's usual one.
    """

    def __init__(
        self, code: str, message: str, status: int | None = None, members: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.members = members or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ValidationException(AwsError):
    """The request is malformed, or asks for what the state of things does not allow."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message, 400)


class ResourceNotFound(AwsError):
    """The named resource does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceNotFound", message, 400)


class ResourceInUse(AwsError):
    """The name is taken, or something else needs the resource."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceInUse", message, 400)


class ResourceLimitExceeded(AwsError):
    """The request asks for more than the service gives."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceLimitExceeded", message, 400)


class JobFailedError(Exception):
    """A job cannot go on; the message becomes its ``FailureReason``."""
