"""AWS's own inference toolkit loads our model archive and passes requests through our handlers."""

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serving.photos import archive, encoded, picture, save_model

PROGRAM = """
import base64, json, sys
from sagemaker_inference.default_handler_service import DefaultHandlerService

class Context:
    def __init__(self, model_dir, headers):
        self.system_properties = {"model_dir": model_dir}
        self.headers, self.status, self.answered = headers, 200, None
        self.request_processor = [self]
    def get_request_properties(self): return self.headers
    def set_response_status(self, code, phrase): self.status = code
    def set_response_content_type(self, index, kind): self.answered = kind

model_dir, service = sys.argv[1], DefaultHandlerService()
service.initialize(Context(model_dir, {}))
import inference
assert inference.__file__.startswith(model_dir), inference.__file__
for line in sys.stdin:
    body, headers = json.loads(line)
    context = Context(model_dir, headers)
    (answer,) = service.handle([{"body": bytearray(base64.b64decode(body))}], context)  # as TorchServe does
    print(json.dumps([context.status, context.answered, answer]), flush=True)
"""


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("container") / "model"
    packed = archive(save_model(tmp_path_factory.mktemp("saved")))
    with tarfile.open(fileobj=io.BytesIO(packed)) as opened:
        opened.extractall(folder, filter="data")
    return folder


def as_npy(photo: Image.Image) -> bytes:
    body = io.BytesIO()
    np.save(body, np.asarray(photo))
    return body.getvalue()


def test_requests_pass_through_awss_toolkit(extracted: Path) -> None:
    photo = encoded(picture())
    as_json = json.dumps({"image": base64.b64encode(photo).decode()}).encode()
    requests = [
        (photo, {"Content-Type": "image/jpeg"}),
        (as_json, {"Content-Type": "application/json", "Accept": "application/json"}),
        (photo, {"Content-type": "image/jpeg", "Accept": "text/csv"}),
        (photo, {"Content-Type": "image/jpeg", "Accept": "application/jsonlines"}),
        (as_npy(picture()), {"Content-Type": "application/x-npy"}),
        (b"no photo", {"Content-Type": "image/jpeg"}),
        (photo, {"Content-Type": "image/gif"}),
        (b'{"url": "https://169.254.169.254/"}', {"Content-Type": "application/json"}),
        (photo, {"Content-Type": "image/jpeg", "Accept": "image/png"}),
    ]
    lines = "".join(json.dumps([base64.b64encode(body).decode(), headers]) + "\n" for body, headers in requests)
    code = str(extracted / "code")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(extracted)],
        cwd=extracted,
        env=environment | {"PYTHONPATH": code, "SAGEMAKER_PROGRAM": "inference.py"},
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [status for status, _, _ in answers] == [200, 200, 200, 200, 200, 400, 415, 403, 406]
    assert [kind for _, kind, _ in answers[:5]] == [
        "application/json",
        "application/json",
        "text/csv",
        "application/jsonlines",
        "application/json",
    ]
    first = json.loads(answers[0][2])
    assert first == json.loads(answers[1][2]) == json.loads(answers[3][2])
    assert answers[2][2].startswith(f"{first['count']},{first['confidence']}")
    [of_npy] = json.loads(answers[4][2])
    assert of_npy["probabilities"].keys() == first["probabilities"].keys()
    assert answers[5][2].startswith("not a whole JPEG or PNG")


def test_the_archive_holds_what_serving_takes_and_nothing_else(extracted: Path) -> None:
    files = {str(path.relative_to(extracted)) for path in extracted.rglob("*") if path.is_file()}
    backbones = "code/efficientnet_lite_pytorch/"  # else each start of a container would fetch it from PyPI
    plain = {name for name in files if not name.startswith(("code/serving/", "code/training/", backbones))}
    assert plain == {"model.pth", "model.json", "code/inference.py"}
    assert {f"{backbones}__init__.py", f"{backbones}LICENSE"} <= files
    assert not {name for name in files if not name.endswith((".py", ".pth", ".json", "LICENSE"))}
