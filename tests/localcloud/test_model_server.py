"""The model server keeps the contract of AWS's PyTorch inference container."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import httpx
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOUBLE = """
    import json

    def model_fn(model_dir):
        return 2

    def input_fn(body, content_type):
        return json.loads(body)

    def predict_fn(data, model):
        return data * model

    def output_fn(prediction, accept):
        return json.dumps(prediction)
"""


class Server:
    """A model server process and a client of it."""

    def __init__(self, folder: Path, environment: dict[str, str], arguments: list[str]) -> None:
        self.port_file = folder / "port"
        self.log = folder / "log"
        command = [sys.executable, "-m", "localcloud.model_server", "--model-dir", "model", "--port-file", "port"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
                stdout=log,
                stderr=log,
            )

    def wait(self) -> "Server":
        while not self.port_file.exists():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        return self

    def invoke(self, content: bytes | str, content_type: str = "application/json", **headers: str) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port_file.read_text()}/invocations"
        sent = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.post(url, content=content, headers=sent, timeout=30, trust_env=False)

    def last_line(self) -> str:
        assert self.process.wait(60) == 1
        return self.log.read_text().strip().splitlines()[-1]


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Server] = []

    def begin(script: str | None, *, files: dict[str, str] | None = None, arguments: list[str] | None = None,
              **environment: str) -> Server:  # fmt: skip
        code = tmp_path / "model" / "code"
        code.mkdir(parents=True, exist_ok=True)
        for name, text in {**({"inference.py": script} if script else {}), **(files or {})}.items():
            (code / name).write_text(dedent(text))
        started.append(Server(tmp_path, environment, arguments or []))
        return started[-1]

    yield begin
    for server in started:
        server.process.kill()
        server.process.wait()


def test_answers_with_the_models_own_handlers(start: Start) -> None:
    server = start(DOUBLE).wait()
    ping = httpx.get(f"http://127.0.0.1:{server.port_file.read_text()}/ping")
    assert (ping.status_code, ping.content) == (200, b"")
    answer = server.invoke("21")
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "42", "application/json")


def test_json_and_csv_arrive_as_text_and_everything_else_as_what_a_socket_is_read_into(start: Start) -> None:
    server = start("""
        def model_fn(model_dir):
            return None

        def transform_fn(model, body, content_type, accept):
            return type(body).__name__, "text/plain"
    """).wait()
    kinds = ("application/json", "text/csv; charset=utf-8", "image/jpeg")
    assert [server.invoke(b"1", kind).text for kind in kinds] == ["str", "str", "bytearray"]
    assert server.invoke(b"1").headers["content-type"].startswith("text/plain")


def test_handlers_may_take_the_requests_context(start: Start) -> None:
    server = start("""
        def model_fn(model_dir, context):
            return context.system_properties["model_dir"]

        def transform_fn(model, body, content_type, accept, context):
            name = "X-Amzn-SageMaker-Custom-Attributes"
            sent = context.get_request_header(0, name)
            context.set_response_header(0, name, f"answer to {sent}")
            context.set_response_content_type(0, "text/x-own")
            return model
    """).wait()
    answer = server.invoke(b"", X_Amzn_SageMaker_Custom_Attributes="trace-7")
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "answer to trace-7"
    assert answer.headers["content-type"] == "text/x-own"
    assert answer.text == "model"


def test_an_exceptions_status_is_the_answers_and_500_without_one(start: Start) -> None:
    server = start("""
        class Refusal(Exception):
            status_code = 422
            message = "not a photo"

        def model_fn(model_dir):
            return None

        def transform_fn(model, body, content_type, accept):
            raise Refusal() if body == "1" else ValueError("the model broke")
    """).wait()
    refused, broken = server.invoke("1"), server.invoke("2")
    assert (refused.status_code, refused.text.splitlines()[0]) == (422, "not a photo")
    assert (broken.status_code, broken.text.splitlines()[0]) == (500, "the model broke")
    log = server.log.read_text()
    assert "the model broke" in log
    assert "BaseInferenceToolkitError" in log, "the log must say that AWS keeps the status of the toolkit's errors only"


def test_default_handlers_read_and_write_what_the_toolkits_do(start: Start) -> None:
    server = start("""
        def model_fn(model_dir):
            return None

        def predict_fn(data, model):
            return data + 1
    """).wait()
    array = io.BytesIO()
    np.save(array, np.array([1.5, 2.5]))
    assert json.loads(server.invoke("[1, 2]").text) == [2, 3]
    assert server.invoke("1,2", "text/csv", Accept="text/csv").text == "2.0\n3.0\n"
    assert json.loads(server.invoke(array.getvalue(), "application/x-npy").text) == [2.5, 3.5]
    back = server.invoke(array.getvalue(), "application/x-npy", Accept="application/x-npy")
    assert np.load(io.BytesIO(back.content)).tolist() == [2.5, 3.5]
    assert server.invoke(b"\xff\xd8", "image/jpeg").status_code == 415
    assert server.invoke("[1]", Accept="image/png").status_code == 406
    assert server.invoke(b"no array", "application/x-npy").status_code == 400


def test_a_pickle_in_a_numpy_body_is_refused(start: Start) -> None:
    server = start("""
        def model_fn(model_dir):
            return None

        def predict_fn(data, model):
            return 1
    """).wait()
    body = io.BytesIO()
    np.save(body, np.array([{"a": 1}], dtype=object))
    assert server.invoke(body.getvalue(), "application/x-npy").status_code == 400


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_torchscript_model_needs_no_script(start: Start, tmp_path: Path) -> None:
    import torch

    (tmp_path / "model").mkdir()
    torch.jit.trace(torch.nn.ReLU(), torch.zeros(2)).save(str(tmp_path / "model" / "weights.pt"))
    server = start(None).wait()
    assert json.loads(server.invoke("[-1.0, 2.0]").text) == [0.0, 2.0]


def test_the_program_and_its_folder_can_be_named(start: Start) -> None:
    server = start(
        None,
        files={"serve_it.py": DOUBLE},
        SAGEMAKER_PROGRAM="serve_it.py",
        SAGEMAKER_SUBMIT_DIRECTORY="/opt/ml/model/code",
    ).wait()
    assert server.invoke("4").text == "8"


@pytest.mark.parametrize(
    ("script", "environment", "reason"),
    [
        ("raise RuntimeError('no weights here')", {}, "RuntimeError: no weights here"),
        (None, {}, "needs exactly one .pt or .pth file"),
        (DOUBLE, {"SAGEMAKER_PROGRAM": "other.py"}, "has no code/other.py"),
        (DOUBLE, {"SAGEMAKER_MODEL_SERVER_WORKERS": "many"}, "SAGEMAKER_MODEL_SERVER_WORKERS"),
        (DOUBLE + "\n    def transform_fn(model, body, content_type, accept):\n        return ''", {}, "transform_fn"),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_the_process_with_the_reason_last(
    start: Start, script: str | None, environment: dict[str, str], reason: str
) -> None:
    assert reason in start(script, **environment).last_line()


def test_requirements_must_be_installed_already(start: Start) -> None:
    files = {
        "requirements.txt": "# a comment\nnumpy>=1.0\nnumpy<1.0\n-r more.txt\n",
        "more.txt": "no-such-package-here==1\nno-such-package-either; python_version < '3'\n",
    }
    reason = start(DOUBLE, files=files).last_line()
    assert "no-such-package-here==1 (not installed)" in reason
    assert "numpy<1.0 (installed:" in reason
    assert "numpy>=1.0" not in reason
    assert "either" not in reason


def test_only_the_models_own_code_can_be_imported(start: Start) -> None:
    assert "No module named 'serving'" in start("import serving").last_line()


def test_a_request_beyond_the_limit_is_refused(start: Start) -> None:
    server = start(DOUBLE, arguments=["--max-payload", "10"]).wait()
    assert server.invoke("1" * 11).status_code == 413
    assert server.invoke("1").status_code == 200


@pytest.mark.parametrize(("told", "most"), [({}, 6_553_500), ({"TS_MAX_REQUEST_SIZE": "7000000"}, 7_000_000)])
def test_a_large_request_needs_what_the_container_is_told(start: Start, told: dict[str, str], most: int) -> None:
    """As with TorchServe, which reads 6.5 MB unless a variable says more, whatever the transform job's limit is."""
    server = start(
        "def transform_fn(model, body, kind, accept): return 'read'\ndef model_fn(_): pass",
        arguments=["--max-payload", "21000000"],
        **told,
    )
    answers = [server.wait().invoke(bytes(size), "image/jpeg").status_code for size in (most, most + 1)]
    assert answers == [200, 413]


def test_requests_run_at_the_same_time(start: Start) -> None:
    """Two requests that wait for each other end only when both are in a handler."""
    server = start(
        """
        import threading

        meeting = threading.Barrier(2, timeout=20)

        def model_fn(model_dir):
            return None

        def transform_fn(model, body, content_type, accept):
            meeting.wait()
            return "met"
    """,
        SAGEMAKER_MODEL_SERVER_WORKERS="2",
    ).wait()
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(server.invoke("1").text)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["met", "met"]


def test_sigterm_lets_a_request_in_flight_end(start: Start, tmp_path: Path) -> None:
    server = start("""
        import pathlib, time

        def model_fn(model_dir):
            return pathlib.Path(model_dir)

        def transform_fn(model, body, content_type, accept):
            (model / "begun").touch()
            while not (model / "go").exists():
                time.sleep(0.01)
            return "done"
    """).wait()
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(server.invoke("1").text))
    thread.start()
    while not (tmp_path / "model" / "begun").exists():
        time.sleep(0.01)
    server.process.terminate()
    (tmp_path / "model" / "go").touch()
    thread.join()
    assert answers == ["done"]
    server.process.wait(30)
