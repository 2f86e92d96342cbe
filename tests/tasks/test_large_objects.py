"""Large objects go over a slow line: few parts at once, and none has the time limit of a small request."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tasks import large_objects
from tasks.large_objects import PARTS_AT_ONCE, put_large
from tasks.object_store import open_store
from tasks.settings import Settings
from tasks.training_job import upload_code
from tasks.weights import stage_weights
from tests.tasks.data.part_server import PartServer, _Handler, serving_parts

LARGE = random.Random(7).randbytes(4 * 2**16)


class _SlowLine:
    """A server to which each PUT takes longer than a small request may; counts those under way."""

    def __init__(self, server: PartServer) -> None:
        self.objects, self.most_at_once, self._under_way = server.objects, 0, 0
        self._lock = threading.Lock()

    def put(self, handler: _Handler, answer: Callable[[_Handler], None]) -> None:
        with self._lock:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        time.sleep(0.6)
        answer(handler)
        with self._lock:
            self._under_way -= 1


@pytest.fixture
def slow_line(s3: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_SlowLine]:
    """Point AWS clients at a slow line. Here "a minute" is 0.4 seconds, and a part has 64 KiB."""
    assert open_store.__kwdefaults__ is not None
    monkeypatch.setitem(open_store.__kwdefaults__, "timeout", timedelta(seconds=0.4))
    monkeypatch.setattr(large_objects, "PART", 2**16)
    with serving_parts() as (address, server):
        line, answer = _SlowLine(server), _Handler.do_PUT
        monkeypatch.setattr(_Handler, "do_PUT", lambda handler: line.put(handler, answer))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        yield line


def test_few_parts_share_a_slow_line_and_each_may_take_its_time(slow_line: _SlowLine) -> None:
    put_large("s3://line/models/m/model.tar.gz", LARGE)
    assert slow_line.objects["line/models/m/model.tar.gz"][0] == LARGE
    assert slow_line.most_at_once == PARTS_AT_ONCE


def test_weights_and_code_go_over_a_slow_line(
    slow_line: _SlowLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.pth").write_bytes(LARGE)
    monkeypatch.setattr("tasks.weights.find_weights", lambda _: tmp_path / "weights.pth")
    settings = Settings(home=tmp_path, bucket="line")
    prefix = stage_weights.fn("resnet50", settings)
    code = upload_code.fn(settings)
    assert slow_line.objects[f"{prefix.removeprefix('s3://')}resnet50.pth"][0] == LARGE
    assert code.removeprefix("s3://") in slow_line.objects
