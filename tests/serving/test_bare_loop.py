"""The loop that serving is held against, when it cannot run."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.bare_loop import bare


def test_a_loop_that_fails_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        bare(tmp_path, [], 1)
    assert "is not a model card" in capfd.readouterr().err
