"""Two processes train as one would."""

import dataclasses
import subprocess
from pathlib import Path

import pytest
import torch

from tests.training.conftest import CLASSES
from tests.training.test_interruption import ROOT, command_of, environment_of
from training import launch, metrics
from training.distributed import World
from training.hyperparameters import Channels, Hyperparameters, preset

# Without what is left out by chance, which differs between processes; SGD, because Adam makes much of rounding.
RECIPE = preset(
    schedule="32x1,48x1", batch_size=16, backbone="resnet18", classes=CLASSES, dropout=0.0, optimizer="sgd", lr=0.02
)


def trained(recipe: Hyperparameters, channels: Channels) -> tuple[str, dict[str, torch.Tensor]]:
    environment = environment_of(channels) | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = command_of(recipe)
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, torch.load(channels.model / "model.pth", weights_only=True)


def test_two_processes_end_where_one_does(channels: Channels, tmp_path: Path) -> None:
    next(iter(sorted((channels.valid / "1").glob("*.jpg")))).unlink()  # 23 photos: the shares are unequal
    log, weights = trained(RECIPE, channels)
    alone = dataclasses.replace(channels, model=tmp_path / "together")
    log_of_two, weights_of_two = trained(dataclasses.replace(RECIPE, processes=2), alone)
    assert metrics.read(log_of_two) == pytest.approx(metrics.read(log), abs=2e-3)
    assert all(torch.allclose(weights[name], weights_of_two[name], atol=2e-3) for name in weights)
    assert log_of_two.count("Testing Accuracy") == 1  # one of them speaks


def test_every_photo_of_a_batch_belongs_to_one_process_together_with_its_opposite() -> None:
    for photos in (7, 16, 33):
        shares = [World(rank, 3, torch.device("cpu")).share(photos).tolist() for rank in range(3)]
        assert sorted(position for share in shares for position in share) == list(range(photos))
        assert all(photos - 1 - position in share for share in shares for position in share)


@pytest.mark.parametrize(
    ("variables", "processes", "expected"),
    [
        ({}, 0, None),
        ({"SM_HOSTS": '["algo-1"]', "SM_NUM_GPUS": "0"}, 0, None),
        ({"SM_HOSTS": '["algo-1"]', "SM_NUM_GPUS": "4"}, 0, ["--nproc-per-node=4", "--standalone"]),
        ({"SM_HOSTS": '["algo-1"]', "SM_NUM_GPUS": "4"}, 1, None),
        (
            {"SM_HOSTS": '["algo-1", "algo-2"]', "SM_CURRENT_HOST": "algo-2", "SM_NUM_GPUS": "1"},
            0,
            ["--nproc-per-node=1", "--nnodes=2", "--node-rank=1", "--master-addr=algo-1"],
        ),
        ({"SM_NUM_GPUS": "4", "WORLD_SIZE": "4"}, 0, None),
    ],
)
def test_a_process_for_each_gpu_of_each_host(
    variables: dict[str, str], processes: int, expected: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SM_HOSTS", "SM_NUM_GPUS", "SM_CURRENT_HOST", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    command = launch.command(Hyperparameters(processes=processes))
    assert (command is None) == (expected is None)
    assert set(expected or ()) <= set(command or ())
