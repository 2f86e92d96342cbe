"""`make install` refuses a Python on which what is locked cannot be installed, before it installs anything."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.installation import ROOT

NEEDED = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
SAYS_IT_IS = """#!/bin/sh
test "$1" = -c || exit 77  # it was accepted: an environment is to be made
exec {real} -c 'import sys; sys.version_info = {version}; exec(sys.argv[2])' "$@"
"""


@pytest.mark.parametrize("version", ["3.10.1", "3.11.2", "3.11.4", "3.12.1", "3.13.1", "3.14.1"])
@pytest.mark.parametrize("made", [False, True], ids=["new", "environment"])
def test_only_a_python_that_the_project_runs_on_is_installed_with(version: str, made: bool, tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / (".venv/bin/python" if made else "python3")
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(SAYS_IT_IS.format(real=sys.executable, version=tuple(map(int, version.split(".")))))
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "install", "PYTHON=./python3"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    refused = f"Python 3.12, or 3.11 from 3.11.4 on, is needed, and {sys.executable} is {version}. " in done.stderr
    assert done.returncode
    accepted = "Error 77" in done.stderr
    assert (accepted, refused) == (version in NEEDED, version not in NEEDED)
    assert made or not (tmp_path / ".venv").exists()
