"""The handlers, as the container calls them; and the client's view of what they answer."""

import base64
import dataclasses
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from serving import batching, inference
from serving.batching import Batcher
from serving.prediction import Prediction
from tasks.code_archive import serving_code
from training import model
from training.data import CountDataset
from training.errors import DeploymentError, ModelError
from training.outputs import Outputs, tempered
from training.picture import MAX_BYTES
from training.preprocessing import to_pixels

CLASSES = (1, 2, 3, 4, 5)


def jpeg(size: tuple[int, int] = (90, 60)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    network = model.net("resnet18", len(CLASSES)).eval()
    backbone = model.BACKBONES["resnet18"]
    model.save(network, model.ModelCard("resnet18", CLASSES, 64, backbone.mean, backbone.std, "v7"), folder)
    return folder


@pytest.fixture(scope="module")
def loaded(model_dir: Path) -> inference.Model:
    return inference.model_fn(str(model_dir))


def test_a_photo_becomes_a_count_with_probabilities(loaded: inference.Model) -> None:
    answer = inference.predict_fn(inference.input_fn(jpeg(), "image/jpeg"), loaded)
    text, content_type = inference.output_fn(answer, "application/json")
    values = json.loads(text)
    assert content_type == "application/json"
    assert sum(values["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert values["confidence"] == max(values["probabilities"].values())
    assert values["count"] in CLASSES
    assert 1 <= values["expected_value"] <= 5
    assert values["model"] == "v7"
    assert Prediction.from_json(text) == answer
    assert answer.probability_of(answer.count) == answer.confidence


def test_a_body_is_read_as_awss_container_hands_it_over(loaded: inference.Model) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros((8, 8, 3), np.uint8))
    for body, kind in ((jpeg(), "image/jpeg"), (array.getvalue(), "application/x-npy")):
        expected = inference.predict_fn(inference.input_fn(body, kind), loaded)
        assert inference.predict_fn(inference.input_fn(bytearray(body), kind), loaded) == expected


def test_jpeg_bytes_and_base64_json_are_answered_alike(loaded: inference.Model) -> None:
    photo = jpeg()
    as_json = json.dumps({"image": base64.b64encode(photo).decode()})
    by_type = [
        inference.predict_fn(inference.input_fn(body, kind), loaded)
        for body, kind in ((photo, "image/jpeg"), (as_json, "application/json; charset=utf-8"))
    ]
    assert by_type[0] == by_type[1]


def test_training_and_serving_see_the_same_tensor(loaded: inference.Model, tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "a.jpg").write_bytes(jpeg((300, 200)))
    in_training = CountDataset(tmp_path, 64, Outputs(CLASSES)).pixels[0]
    assert torch.equal(loaded.pixels((tmp_path / "2" / "a.jpg").read_bytes()), in_training)
    assert torch.equal(to_pixels((tmp_path / "2" / "a.jpg").read_bytes(), 64), in_training)


def test_a_batch_answers_as_its_photos_do_one_by_one(loaded: inference.Model) -> None:
    photos = [jpeg((50 + index, 60)) for index in range(5)]
    batch = inference.predict_batch(torch.stack([loaded.pixels(photo) for photo in photos]), loaded)
    for photo, answer in zip(photos, batch, strict=True):
        alone = inference.predict_fn(photo, loaded)
        assert isinstance(alone, Prediction)
        assert alone.count == answer.count
        assert list(alone.probabilities.values()) == pytest.approx(list(answer.probabilities.values()), abs=1e-5)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"GIF89a", "image/gif", 415),
        (b"x", "", 415),
        (b"not json", "application/json", 400),
        (b'{"picture": "AAAA"}', "application/json", 400),
        (b'{"image": "%%%"}', "application/json", 400),
        (b'["image"]', "application/json", 400),
        (jpeg()[:500], "image/jpeg", 400),
        (b"", "image/jpeg", 400),
        (b'{"image": "AAAA"}', "application/json", 400),
    ],
)
def test_bad_requests_get_the_status_that_fits(loaded: inference.Model, body: bytes, kind: str, status: int) -> None:
    with pytest.raises(inference.Refusal) as refused:
        inference.predict_fn(inference.input_fn(body, kind), loaded)
    assert refused.value.status_code == status


@pytest.mark.parametrize("kind", ["image/jpeg", "application/json", "application/x-npy"])
def test_a_body_beyond_all_limits_is_not_looked_into(kind: str) -> None:
    with pytest.raises(inference.Refusal, match="at most") as refused:
        inference.input_fn(bytes(2 * MAX_BYTES + 1), kind)
    assert refused.value.status_code == 413


def test_the_answer_comes_in_the_type_that_is_preferred(loaded: inference.Model) -> None:
    answer = inference.predict_fn(jpeg(), loaded)
    assert isinstance(answer, Prediction)
    for accept, kind in (
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/*", "text/csv"),
        ("text/html, text/csv;q=0.5, application/json;q=0.9", "application/json"),
        ("application/json;q=0, */*;q=0.1", "application/json"),
        ("application/jsonlines", "application/jsonlines"),
    ):
        assert inference.output_fn(answer, accept)[1] == kind, accept
    for accept in ("image/jpeg", "application/json;q=0"):
        with pytest.raises(inference.Refusal) as refused:
            inference.output_fn(answer, accept)
        assert refused.value.status_code == 406

    header, row = inference.output_fn(answer, "text/csv; header=present")[0].splitlines()
    assert header == "count,confidence,expected_value,out_of_range,model,p1,p2,p3,p4,p5"
    assert inference.output_fn(answer, "text/csv")[0].splitlines() == [row]
    assert row.split(",")[0] == str(answer.count)
    assert float(row.split(",")[-1]) == answer.probabilities[5]
    lines = inference.output_fn([answer, answer], "application/jsonlines")[0].splitlines()
    assert [Prediction.from_json(line) for line in lines] == [answer, answer]
    assert json.loads(inference.output_fn([answer], "application/json")[0]) == [answer.to_dict()]


def test_the_temperature_of_the_card_makes_answers_less_sure_and_changes_no_count(loaded: inference.Model) -> None:
    card = dataclasses.replace(loaded.card, temperature=3.0)
    calm = inference.Model(loaded.network, card)
    sure, unsure = inference.predict_fn(jpeg(), loaded), inference.predict_fn(jpeg(), calm)
    assert isinstance(sure, Prediction)
    assert isinstance(unsure, Prediction)
    assert unsure.count == sure.count
    assert unsure.confidence < sure.confidence
    logits = torch.tensor([0.3, -1.0, 2.0])
    assert torch.allclose(tempered(logits.softmax(0)[None], 3.0)[0], (logits / 3).softmax(0))


def test_requests_that_come_together_are_counted_together_and_answered_each_its_own(loaded: inference.Model) -> None:
    photos = [jpeg((50 + index, 60)) for index in range(12)]
    alone = [inference.predict_fn(photo, loaded) for photo in photos]
    sizes = []

    def counting(pixels: list[torch.Tensor]) -> list[Prediction]:
        sizes.append(len(pixels))
        return inference.predict_batch(torch.stack(pixels), loaded)

    model = inference.Model(loaded.network, loaded.card)
    model.count_together = Batcher(counting, largest=4)
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda photo: inference.predict_fn(photo, model), photos))
    assert [each.count for each in together if isinstance(each, Prediction)] == [
        each.count for each in alone if isinstance(each, Prediction)
    ]
    assert sum(sizes) == 12
    assert len(sizes) < 12
    assert max(sizes) <= 4


def test_a_failed_batch_fails_each_request_in_it_and_no_other() -> None:
    def reciprocals(values: list[int]) -> list[float]:
        return [1 / value for value in values]

    batcher = Batcher(reciprocals, largest=1)
    with pytest.raises(ZeroDivisionError):
        batcher([0])
    assert batcher([2, 4]) == [0.5, 0.25]


def test_a_request_that_waited_too_long_is_busy_not_faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go = threading.Event(), threading.Event()
    computed: list[str] = []

    def compute(values: list[str]) -> list[str]:
        begun.set()
        go.wait(20)
        computed.extend(values)
        return values

    batcher = Batcher(compute, largest=1)
    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as pool:
        patched.setattr(batching, "PATIENCE_SECONDS", 0.2)
        first = pool.submit(batcher, ["begun"])
        assert begun.wait(20)
        before = time.monotonic()
        with pytest.raises(inference.Refusal, match="busy") as refused:
            batcher([f"waits {number}" for number in range(10)])
        assert time.monotonic() - before < 1.5  # one deadline for all ten
        assert refused.value.status_code == 503
        assert isinstance(first.exception(), inference.Refusal)
    go.set()
    assert batcher(["next"]) == ["next"]
    assert computed == ["begun", "next"]  # nothing that nobody waited for any more


def test_batches_are_computed_beside_each_other_on_threads_that_were_prepared() -> None:
    prepared: list[int] = []
    meeting = threading.Barrier(3, timeout=20)  # breaks unless three batches are under way at once

    def meet(values: list[int]) -> list[int]:
        assert threading.get_ident() in prepared
        meeting.wait()
        return [value + 1 for value in values]

    batcher = Batcher(meet, largest=1, at_once=3, prepare=lambda: prepared.append(threading.get_ident()))
    assert batcher([1, 2, 3]) == [2, 3, 4]
    assert len(set(prepared)) == 3


def test_a_model_computes_a_batch_for_each_core_on_one_thread_each(
    loaded: inference.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {}

    class Recorded(Batcher[torch.Tensor, Prediction]):
        def __init__(self, run: Callable[[list[torch.Tensor]], list[Prediction]], **given: Any) -> None:
            options.update(given)
            super().__init__(run, **given)

    with monkeypatch.context() as patched:
        patched.setattr(inference, "Batcher", Recorded)
        patched.setattr(inference, "CORES", 3)
        inference.Model(loaded.network, loaded.card)
    assert options["at_once"] == 3
    with ThreadPoolExecutor(1, initializer=options["prepare"]) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1


def test_weights_that_give_no_numbers_are_refused(model_dir: Path, tmp_path: Path) -> None:
    weights = torch.load(model_dir / "model.pth", weights_only=True)
    weights["fc.weight"].fill_(float("nan"))
    torch.save(weights, tmp_path / "model.pth")
    (tmp_path / "model.json").write_bytes((model_dir / "model.json").read_bytes())
    with pytest.raises(ModelError, match="not numbers"):
        inference.model_fn(str(tmp_path))


class Pickled:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_code_in_the_weights_is_refused_and_does_not_run(model_dir: Path, tmp_path: Path) -> None:
    weights = torch.load(model_dir / "model.pth", weights_only=True)
    torch.save(weights | {"fc.bias": Pickled(f"touch {tmp_path / 'ran'}")}, tmp_path / "model.pth")
    (tmp_path / "model.json").write_bytes((model_dir / "model.json").read_bytes())
    with pytest.raises(ModelError, match="does not fit"):
        inference.model_fn(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_model_that_does_not_fit_its_card_is_refused(model_dir: Path, tmp_path: Path) -> None:
    card = json.loads((model_dir / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(card | {"classes": [1, 2]}))
    (tmp_path / "model.pth").write_bytes((model_dir / "model.pth").read_bytes())
    with pytest.raises(ModelError, match="does not fit"):
        inference.model_fn(str(tmp_path))
    with pytest.raises(ModelError, match="not a model card"):
        inference.model_fn(str(tmp_path / "absent"))


def test_the_archive_has_all_that_serving_takes(model_dir: Path, tmp_path: Path) -> None:
    for name, content in serving_code().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    program = (
        "import inference, sys, pathlib\n"
        f"assert pathlib.Path(inference.__file__).is_relative_to({str(tmp_path)!r})\n"
        "import training.model; assert training.model.__file__.startswith(sys.path[0])\n"
        f"model = inference.model_fn({str(model_dir)!r})\n"
        "photo = sys.stdin.buffer.read()\n"
        "print(inference.output_fn(inference.predict_fn(inference.input_fn(photo, 'image/jpeg'), model), '*/*')[0])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(tmp_path / "code")
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env=environment,
        input=jpeg(),
        capture_output=True,
        check=True,
    )
    assert Prediction.from_json(done.stdout).model == "v7"


def test_an_answer_that_is_no_prediction() -> None:
    with pytest.raises(DeploymentError, match="not a prediction"):
        Prediction.from_json(b'{"count": 3}')
