"""Training jobs in processes of their own: killed, told to end, failing."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.conftest import write_folders
from tests.training.test_job import FINETUNE
from training import metrics
from training.errors import TrainingError
from training.hyperparameters import Channels, Hyperparameters
from training.job import failed, main, run

ROOT = Path(__file__).resolve().parents[2]


def arguments_of(recipe: Hyperparameters) -> list[str]:
    told = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(recipe).items()}
    return [part for name, value in told.items() for part in (f"--{name}", str(value))]


def environment_of(channels: Channels) -> dict[str, str]:
    return {
        **os.environ,
        "SM_CHANNEL_TRAIN": str(channels.train),
        "SM_CHANNEL_VALID": str(channels.valid),
        "SM_MODEL_DIR": str(channels.model),
        "SM_OUTPUT_DATA_DIR": str(channels.output),
    }


def command_of(recipe: Hyperparameters) -> list[str]:
    return [sys.executable, "-m", "training.train", *arguments_of(recipe)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Channels:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_folders(folder / "train", 24, seed=0)
    write_folders(folder / "valid", 8, seed=1000)
    channels = Channels(folder / "train", folder / "valid", None, folder / "model", folder)
    # In a process of its own too: the same number of threads, so the same sums to the last bit.
    done = subprocess.run(
        command_of(FINETUNE), env=environment_of(channels), cwd=ROOT, capture_output=True, text=True, check=True
    )
    (folder / "log").write_text(done.stdout)
    return channels


@pytest.mark.parametrize(
    "sent", [pytest.param(signal.SIGKILL, marks=pytest.mark.drill), signal.SIGTERM], ids=lambda sent: sent.name
)
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    undisturbed: Channels, sent: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    channels = dataclasses.replace(undisturbed, model=tmp_path / "model", output=tmp_path)
    environment = environment_of(channels) | {"SM_CHECKPOINT_DIR": str(tmp_path / "checkpoints")}
    with subprocess.Popen(
        command_of(FINETUNE), env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            if line.startswith("Epoch 2/4"):
                process.send_signal(sent)
        said = process.stderr.read()
    if sent == signal.SIGTERM:
        assert process.returncode == 143
        assert "goes on from there" in said
    resumed = subprocess.run(
        command_of(FINETUNE), env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Resuming after epoch" in resumed.stdout
    assert "Epoch 1/4" not in resumed.stdout
    assert metrics.read(resumed.stdout) == metrics.read((undisturbed.output / "log").read_text())
    weights, expected = (
        torch.load(folder / "model.pth", weights_only=True) for folder in (channels.model, undisturbed.model)
    )
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda: torch.empty(2**60), "TrainingError: out of memory: .*give a smaller batch_size"),
        (lambda: os.environ["ABSENT"], "KeyError: 'ABSENT'"),
    ],
    ids=["out of memory", "unforeseen"],
)
def test_a_job_says_why_it_failed_whatever_it_was(
    channels: Channels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[], object], reason: str
) -> None:
    for name, value in (environment_of(channels) | {"SM_OUTPUT_DIR": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "failure").write_text("what an earlier attempt died of")
    assert main(lambda *given: fault(), []) == 1
    assert re.match(reason, (tmp_path / "failure").read_text())


def test_what_follows_from_another_processs_failure_does_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SM_OUTPUT_DIR", str(tmp_path))
    failed(TrainingError("the disk is full"))
    failed(RuntimeError("Connection closed by peer"), only_if_first=True)
    assert (tmp_path / "failure").read_text() == "TrainingError: the disk is full"


def test_results_that_could_not_be_left_are_found_out_before_the_training(channels: Channels, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shutil.rmtree(channels.train)  # what would be found out next
    for name in ("model", "output", "checkpoints"):
        with pytest.raises(TrainingError, match=f"cannot write to .*{name}"):
            run(FINETUNE, dataclasses.replace(channels, **{name: tmp_path / "file" / name}))


def test_a_failing_job_leaves_its_reason_where_sagemaker_looks(channels: Channels, tmp_path: Path) -> None:
    absent = dataclasses.replace(channels, train=tmp_path / "nowhere")
    environment = environment_of(absent) | {"SM_OUTPUT_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "training.train", "--backbone", "resnet18"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no channel folder" in (tmp_path / "failure").read_text()
    assert "Traceback" not in done.stderr
