"""How the default handlers read request bodies and write predictions.

The content types and their meaning are those of AWS's `sagemaker-inference` toolkit and its PyTorch handler:
JSON, CSV, NPY and NPZ. One thing is stricter here: pickled objects inside NPY and NPZ bodies are refused,
because loading them runs code that the caller chose.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

JSON = "application/json"
CSV = "text/csv"
NPY = "application/x-npy"
NPZ = "application/x-npz"
ANY = "*/*"
TEXT_TYPES = frozenset({JSON, CSV})


class StatusError(Exception):
    """A request that is answered with an HTTP status other than 500."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message


def media_type(header: str) -> str:
    """The media type of a Content-Type header, lower case and without parameters such as `charset`."""
    return header.partition(";")[0].strip().lower()


def decode(body: str | bytes | bytearray, content_type: str) -> np.ndarray[Any, Any]:
    """A request body as an array; 415 where no decoder fits, 400 where the body is broken."""
    kind = media_type(content_type)
    raw = body.encode() if isinstance(body, str) else body
    try:
        if kind == JSON:
            return np.array(json.loads(raw))
        if kind == CSV:
            return np.genfromtxt(io.StringIO(raw.decode()), delimiter=",")
        if kind == NPY:
            array: np.ndarray[Any, Any] = np.load(io.BytesIO(raw), allow_pickle=False)
            return array
        if kind == NPZ:
            with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
                return np.asarray(archive[archive.files[0]])
    except (ValueError, UnicodeDecodeError, IndexError, OSError) as error:
        raise StatusError(400, f"the request body is not valid {kind}: {error}") from error
    raise StatusError(
        415,
        f"content type {content_type!r} is not supported by the default input_fn, which reads "
        f"{JSON}, {CSV}, {NPY} and {NPZ}; write an input_fn in inference.py",
    )


def encode(prediction: Any, accept: str) -> tuple[bytes, str]:
    """A prediction in the first accepted type that has an encoder, and that type; 406 when none has."""
    for wanted in accept.split(","):
        kind = media_type(wanted)
        if kind in (JSON, ANY):
            return json.dumps(prediction, default=_jsonable).encode(), JSON
        if kind == CSV:
            text = io.StringIO()
            np.savetxt(text, np.atleast_1d(np.asarray(prediction)), delimiter=",", fmt="%s")
            return text.getvalue().encode(), CSV
        if kind == NPY:
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(prediction), allow_pickle=False)
            return buffer.getvalue(), NPY
        if kind == NPZ:
            buffer = io.BytesIO()
            np.savez(buffer, np.asarray(prediction))
            return buffer.getvalue(), NPZ
    raise StatusError(
        406,
        f"accept {accept!r} is not supported by the default output_fn, which writes "
        f"{JSON}, {CSV}, {NPY} and {NPZ}; write an output_fn in inference.py",
    )


def _jsonable(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a prediction of type {type(value).__name__} cannot be written as JSON")
