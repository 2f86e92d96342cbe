"""A model's own `inference.py`: found, loaded and called as AWS's inference toolkit does.

The contract, from `sagemaker-inference` and `sagemaker-pytorch-inference`:

* The script is `code/inference.py` of the model archive, or the one that `SAGEMAKER_PROGRAM` names.
* `model_fn(model_dir)` loads the model; without it, the one TorchScript file `*.pt` or `*.pth` is loaded.
* Either `transform_fn(model, body, content_type, accept)`, or any of `input_fn(body, content_type)`,
  `predict_fn(data, model)` and `output_fn(prediction, accept)`; both at once is an error.
* Each of them may take one more argument, the request's context.
* JSON and CSV bodies arrive as `str`, all others as the `bytearray` that TorchServe reads them into.
* A result may be a pair (body, content type).
"""

from __future__ import annotations

import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from localcloud.model_server.context import Reply, RequestContext
from localcloud.model_server.formats import ANY, JSON, TEXT_TYPES, StatusError, decode, encode, media_type

TOOLKIT_ERROR = "BaseInferenceToolkitError"


class ModelLoadError(Exception):
    """The model or its script cannot be loaded; the message says why and what to do."""


class Handlers:
    """A loaded model and the functions that answer requests; `answer` is all that the web server sees."""

    def __init__(self, module: ModuleType | None, model_dir: Path, environ: Mapping[str, str]) -> None:
        self._model_dir = str(model_dir)
        self._default_accept = environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)
        self._transform_fn = _function(module, "transform_fn")
        self._input_fn = _function(module, "input_fn")
        self._predict_fn = _function(module, "predict_fn")
        self._output_fn = _function(module, "output_fn")
        if self._transform_fn and (self._input_fn or self._predict_fn or self._output_fn):
            raise ModelLoadError(
                "inference.py has transform_fn together with input_fn, predict_fn or output_fn; AWS's "
                "toolkit refuses that: keep either transform_fn or the three others"
            )
        context = RequestContext(self._model_dir)
        if before := _function(module, "pre_model_fn"):
            _call(before, context, self._model_dir)
        self._model = _call(_function(module, "model_fn") or _load_torchscript, context, self._model_dir)
        if warm_up := _function(module, "model_warmup_fn"):
            _call(warm_up, context, self._model_dir, self._model)

    def answer(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Answer one invocation. Never raises: every failure is an answer with a status and the reason."""
        context = RequestContext(self._model_dir, headers)
        try:
            content, content_type = self._transform(body, context)
        except Exception as error:  # noqa: BLE001 - whatever user code raises becomes the answer
            return _failure(error)
        extra = dict(context.response_headers)
        return Reply(200, content, extra.pop("Content-Type", content_type), extra)

    def _transform(self, body: bytes, context: RequestContext) -> tuple[bytes, str]:
        content_type = context.get_request_header(0, "Content-Type") or ""
        accept = context.get_request_header(0, "Accept")
        if not accept or accept == ANY:
            accept = self._default_accept
        data = body.decode() if media_type(content_type) in TEXT_TYPES else bytearray(body)
        if self._transform_fn:
            result = _call(self._transform_fn, context, self._model, data, content_type, accept)
        else:
            value = _call(self._input_fn or _default_input, context, data, content_type)
            prediction = _call(self._predict_fn or _default_predict, context, value, self._model)
            result = _call(self._output_fn or _default_output, context, prediction, accept)
        if isinstance(result, tuple) and len(result) == 2:
            return _as_bytes(result[0]), str(result[1])
        return _as_bytes(result), accept.partition(",")[0].strip()


def _function(module: ModuleType | None, name: str) -> Callable[..., Any] | None:
    found: Callable[..., Any] | None = getattr(module, name, None)
    return found


def _call(function: Callable[..., Any], context: RequestContext, *arguments: Any) -> Any:
    """Call a handler, with the context as one more argument where it takes one."""
    takes = len(inspect.signature(function).parameters)
    if takes == len(arguments):
        return function(*arguments)
    if takes == len(arguments) + 1:
        return function(*arguments, context)
    name = getattr(function, "__name__", repr(function))
    raise TypeError(f"{name} takes {takes} arguments but {len(arguments)} were given")


def _load_torchscript(model_dir: str) -> Any:
    """AWS's default for PyTorch: `model.pt`, or else the only `*.pt` or `*.pth`, as TorchScript."""
    candidates = sorted(path for path in Path(model_dir).iterdir() if path.suffix in {".pt", ".pth"})
    preferred = [path for path in candidates if path.name == "model.pt"] or candidates
    if len(preferred) != 1:
        names = [path.name for path in candidates]
        raise ModelLoadError(
            "the model has no model_fn, and the default one needs exactly one .pt or .pth file beside code/; "
            f"the archive has {names or 'none'}"
        )
    import torch

    return torch.jit.load(preferred[0], map_location="cpu").eval()


def _default_input(body: str | bytes, content_type: str) -> Any:
    array = decode(body, content_type)
    import torch

    return torch.as_tensor(array, dtype=torch.float32) if isinstance(body, str) else torch.from_numpy(array)


def _default_predict(data: Any, model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(data)


def _default_output(prediction: Any, accept: str) -> tuple[bytes, str]:
    if hasattr(prediction, "detach"):
        prediction = prediction.detach().cpu().numpy()
    return encode(prediction, accept)


def _as_bytes(result: Any) -> bytes:
    if isinstance(result, (bytes, bytearray)):
        return bytes(result)
    if isinstance(result, str):
        return result.encode()
    if isinstance(result, (dict, list)):
        return json.dumps(result).encode()
    raise TypeError(f"output_fn must return str or bytes, not {type(result).__name__}")


def _failure(error: Exception) -> Reply:
    """The toolkit's answer to an exception: the status it carries, else 500; message and traceback."""
    trace = "".join(traceback.format_exception(error))
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status <= 599:
        known = {base.__name__ for base in type(error).__mro__}
        if not isinstance(error, StatusError) and TOOLKIT_ERROR not in known:
            trace += (
                f"localcloud: AWS answers 500 to {type(error).__name__}, whatever its status_code: only "
                f"classes derived from sagemaker_inference.errors.{TOOLKIT_ERROR} keep their status there\n"
            )
    else:
        status = 500
    sys.stderr.write(trace)
    sys.stderr.flush()
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    return Reply(status, f"{message}\n{trace}".encode(), "text/plain; charset=utf-8")
