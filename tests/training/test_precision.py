"""Which arithmetic a machine gets when nobody says."""

from pathlib import Path

import pytest
import torch

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


def test_where_nothing_is_known_of_the_processor_and_where_something_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.precision._CPU_FACTS", tmp_path / "absent")
    assert chosen("auto", CPU) == "float32"
    assert chosen("bfloat16", CPU) == "bfloat16"
