"""Two processes train as one would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.conftest import CLASSES
from tests.training.test_interruption import ROOT, command_of, environment_of
from training import launch, model
from training.distributed import World
from training.errors import TrainingError
from training.hyperparameters import Channels, Hyperparameters, preset
from training.job import check_batch


@pytest.mark.parametrize("backbone", [pytest.param("resnet18", marks=pytest.mark.drill), "efficientnet_lite0"])
def test_two_processes_take_the_steps_of_one(channels: Channels, backbone: str) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = [*torchrun, "-m", "tests.training.two_processes", backbone]
    environment = environment_of(channels) | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["largest_difference"] < 1e-9
    assert found["together"] == pytest.approx(found["alone"], rel=1e-6)


def test_two_processes_go_on_as_if_they_had_not_been_interrupted(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = [*torchrun, "-m", "tests.training.two_processes_resumed", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    main, other = json.loads(done.stdout.splitlines()[-1])
    assert main["same"]
    assert other["same"]
    assert main["said"].startswith("told to end after step 7; ")
    assert other["said"] == main["said"]
    assert (main["left"], other["left"]) == (["checkpoint.pt"], [])


@pytest.mark.parametrize("sender", ["parent", "processes"])
def test_processes_that_are_told_to_end_end_the_script_with_143(sender: str) -> None:
    command = [sys.executable, "-m", "tests.training.told_to_end", sender]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        if sender == "parent":
            ready = [process.stdout.readline() for _ in range(2)]
            process.terminate()
            assert ready == ["ready\n"] * 2
        said = process.stderr.read()
    assert process.returncode == 143, said
    assert "Traceback" not in said


def test_the_entry_script_starts_its_processes_and_one_of_them_speaks(channels: Channels) -> None:
    recipe = preset(image_size=32, epochs=1, batch_size=16, backbone="resnet18", classes=CLASSES, processes=2)
    environment = environment_of(channels) | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command_of(recipe), env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Testing Accuracy") == 1
    assert model.load_card(channels.model).metrics.keys() >= {"accuracy", "loss"}


def test_every_photo_of_a_batch_belongs_to_one_process_together_with_its_opposite() -> None:
    for photos in (7, 16, 33):
        shares = [World(rank, 3, torch.device("cpu")).share(photos).tolist() for rank in range(3)]
        assert sorted(position for share in shares for position in share) == list(range(photos))
        assert all(photos - 1 - position in share for share in shares for position in share)


@pytest.mark.parametrize(("photos", "processes"), [(1, 1), (3, 2), (7, 4), (47, 24)])
def test_a_step_on_too_few_photos_for_all_processes_is_refused(photos: int, processes: int) -> None:
    worlds = [World(rank, processes, torch.device("cpu")) for rank in range(processes)]
    check_batch(Hyperparameters(batch_size=64), photos, worlds[0])
    assert all(len(world.share(photos)) for world in worlds)
    for few, batch_size in ((photos - 1, 64), (64, photos - 1)):
        assert not all(len(world.share(min(few, batch_size))) for world in worlds)
        with pytest.raises(TrainingError, match=f"too few for {processes} processes.* at least {photos}"):
            check_batch(Hyperparameters(batch_size=batch_size), few, worlds[0])


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
