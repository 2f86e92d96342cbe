"""How a request is refused, so that AWS's container answers with the status that says why."""

from http import HTTPStatus

try:
    from sagemaker_inference.errors import BaseInferenceToolkitError
except ImportError:  # outside AWS's container

    class BaseInferenceToolkitError(Exception):  # type: ignore[no-redef]
        """The container's own class, by name: its web server answers with the status that it carries."""

        def __init__(self, status_code: int, message: str, phrase: str) -> None:
            super().__init__(message)
            self.status_code, self.message, self.phrase = status_code, message, phrase


class Refusal(BaseInferenceToolkitError):  # type: ignore[misc]
    """A request that is refused; the first line of the answer is the message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message, HTTPStatus(status).phrase)

    def __str__(self) -> str:
        return str(self.message)
