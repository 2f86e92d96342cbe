"""What jobs install in AWS's container: pinned, known here, and there for its Python."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tasks.jobs import PYTHON, PYTORCH

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "training" / "requirements.txt"
IN_THE_CONTAINER = {"boto3", "numpy", "packaging", "torch"}
"""What is in AWS's container, and fits whatever is asked for here: pip leaves it as it is."""


def pins(file: Path) -> set[str]:
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("-")}


def test_every_requirement_of_the_container_is_pinned_to_what_is_tested_here() -> None:
    assert all("==" in pin for pin in pins(REQUIREMENTS))
    assert pins(REQUIREMENTS) <= pins(ROOT / "requirements.lock")


def test_what_the_requirements_need_is_pinned_too_or_the_containers_own() -> None:
    pinned = {Requirement(pin).name for pin in pins(REQUIREMENTS)}
    needed = [Requirement(each) for name in pinned for each in metadata.requires(name) or []]
    always = {each.name for each in needed if not each.marker or each.marker.evaluate({"extra": ""})}
    assert {"protobuf", "numpy"} <= always
    assert always <= pinned | IN_THE_CONTAINER


def test_the_requirements_resolve_for_the_containers_python_and_torch(tmp_path: Path) -> None:
    version = f"{PYTHON[2]}.{PYTHON[3:]}"
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--python-version", version]
    command += ["--python-platform", "x86_64-manylinux_2_28", "--only-binary", "pyarrow"]
    (tmp_path / "container.txt").write_text(f"torch=={PYTORCH}\ntorchvision==0.21.0\n")
    command += ["--constraint", "container.txt"]
    done = subprocess.run([*command, str(REQUIREMENTS)], capture_output=True, text=True, cwd=tmp_path, check=False)
    if done.returncode and any(word in done.stderr.lower() for word in ("connect", "dns", "timed out", "offline")):
        pytest.skip(f"no package registry is reachable: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert pins(REQUIREMENTS) <= {line.split(" ")[0] for line in done.stdout.splitlines()}


def test_the_lock_has_what_the_oldest_python_needs() -> None:
    """For an older one than it is made with, libraries may ask for more."""
    lock = [Requirement(pin.split(" ;")[0]) for pin in pins(ROOT / "requirements.lock")]
    oldest = {"python_version": "3.11", "python_full_version": "3.11.4", "extra": ""}
    named = {canonicalize_name(each.name) for each in lock}
    needed = {
        canonicalize_name(need.name)
        for pin in lock
        for need in map(Requirement, metadata.requires(pin.name) or [])
        if not need.marker or need.marker.evaluate(oldest)
    }
    assert len(needed) > 50
    assert needed <= named
