"""Which arithmetic a machine gets when nobody says."""

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.training.test_job import RECIPE
from training.channels import Channels
from training.job import run
from training.precision import chosen

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("flags", "device", "name"),
    [
        ("fma avx512f amx_bf16 amx_tile", CPU, "bfloat16"),
        ("fma avx2", CPU, "float32"),
        ("fma avx512f amx_bf16 amx_tile", GPU, "float32"),
    ],
)
def test_auto_is_what_is_quick_here(
    flags: str, device: torch.device, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"flags : {flags}\n")
    monkeypatch.setattr("training.precision._CPU_FACTS", facts)
    assert chosen("auto", device) == name


def test_a_training_goes_on_where_arithmetic_is_another(
    channels: Channels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    kept = dataclasses.replace(channels, checkpoints=tmp_path / "checkpoints")
    for flags in ("avx2", "amx_bf16"):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setattr("training.precision._CPU_FACTS", tmp_path / "cpuinfo")
        run(dataclasses.replace(RECIPE, epochs=1, precision="auto"), kept)
    said = capsys.readouterr().out
    assert said.index("threads, float32") < said.index("threads, bfloat16") < said.index("Resuming after epoch 1")


def test_where_nothing_is_known_of_the_processor_and_where_something_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.precision._CPU_FACTS", tmp_path / "absent")
    assert chosen("auto", CPU) == "float32"
    assert chosen("bfloat16", CPU) == "bfloat16"
