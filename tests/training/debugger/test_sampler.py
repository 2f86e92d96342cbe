"""The machine is sampled, whatever a GPU does not tell."""

from types import SimpleNamespace
from typing import NoReturn

import pynvml
import pytest

from training.debugger.sampler import Machine


def refuses(*_: object) -> NoReturn:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML of a machine with two GPUs; the second does not tell its utilisation, as a part of one (MIG) does not."""
    for name, answer in {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetUtilizationRates": lambda handle: refuses() if handle else SimpleNamespace(gpu=70),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=1, total=4),
    }.items():
        monkeypatch.setattr(pynvml, name, answer)


def test_what_a_gpu_does_not_tell_is_left_out_and_said_once(two_gpus: None, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine()
    for _ in range(2):
        found = {(name, dimension): value for _, name, dimension, value in machine.values()}
        assert ("cpu0", "CPUUtilization") in found
        gpus = {key: value for key, value in found.items() if key[0].startswith("gpu")}
        memory = {("gpu0", "GPUMemoryUtilization"): 25.0, ("gpu1", "GPUMemoryUtilization"): 25.0}
        assert gpus == {("gpu0", "GPUUtilization"): 70.0} | memory
    assert capsys.readouterr().err.count("gpu1 GPUUtilization cannot be read") == 1


def test_gpus_that_cannot_be_counted_are_none(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", refuses)
    assert {kind for kind, *_ in Machine().values()} == {"cpu", "i/o", "memory", "disk", "network"}
