"""What a debugged training records is what it was told to record, once, also after an interruption."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from smdebug import modes
from smdebug.profiler.algorithm_metrics_reader import LocalAlgorithmMetricsReader
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
from smdebug.trials import create_trial
from torch import nn

from tests.training.conftest import write_folders
from tests.training.test_interruption import arguments_of, environment_of
from tests.training.test_job import RECIPE
from training.channels import Channels
from training.debugger.hook import DebugHook
from training.debugger.options import DebugOptions, Places, split_arguments
from training.debugger.recorder import Recorder
from training.debugger.timeline import Timeline
from training.errors import TrainingError
from training.finetune_debugger import DebuggedJob
from training.job import run
from training.model import Head, net
from training.observer import Mode

ROOT = Path(__file__).resolve().parents[3]
LOSS = "CrossEntropyLoss_output_0"


class Printing(Recorder):
    """Keeps the losses that the loop tells."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.told: dict[tuple[Mode, int], float] = {}

    def step(self, mode: Mode, step: int, loss: float, photos: int) -> None:
        self.told[mode, step] = loss
        super().step(mode, step, loss, photos)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMDEBUG_TRAINING_END_DELAY_REFRESH", "0")


def test_the_steps_that_were_asked_for_and_the_losses_that_were_told(channels: Channels) -> None:
    places = Places.of(channels)
    recorder = Printing(
        DebugOptions(save_interval_train=5, whole_layers=(r"^ResNet_fc\.",)), places, Timeline(places.profile)
    )
    run(dataclasses.replace(RECIPE, test_flip=True), channels, recorder)  # measured once more in the end: no step
    trial = create_trial(str(places.tensors))
    assert trial.steps(mode=modes.TRAIN) == [0, 5, 10]
    assert trial.steps(mode=modes.EVAL) == [0, 1, 2]
    for mode, key in (("train", modes.TRAIN), ("eval", modes.EVAL)):
        for step in trial.steps(mode=key):
            assert trial.tensor(LOSS).value(step, mode=key) == pytest.approx(recorder.told[mode, step], abs=1e-6)  # type: ignore[index]
    weight = trial.tensor("ResNet_fc.weight")
    assert weight.value(5, mode=modes.TRAIN).shape == (3, 512)
    assert weight.reduction_value(5, "l2", mode=modes.TRAIN) > 0
    with pytest.raises(Exception, match="has reductions saved"):
        trial.tensor("ResNet_conv1.weight").value(5, mode=modes.TRAIN)
    assert trial.tensor("update/ResNet_fc.weight").value(0, mode=modes.TRAIN) > 0
    assert trial.tensor("activity/layer4.1.relu.relu_output_1").value(0, mode=modes.TRAIN).shape == (512,)


def test_the_step_that_ends_a_training_is_recorded(channels: Channels) -> None:
    places = Places.of(channels)
    recorder = Recorder(DebugOptions(save_interval_train=1000), places, Timeline(places.profile))
    with pytest.raises(TrainingError, match=r"the loss became nan at step (\d+)") as ended:
        run(dataclasses.replace(RECIPE, lr=1e30), channels, recorder)
    trial = create_trial(str(places.tensors))
    last = trial.steps(mode=modes.TRAIN)[-1]
    assert f"at step {last}:" in str(ended.value)
    assert last > 0
    assert np.isnan(trial.tensor(LOSS).value(last, mode=modes.TRAIN)).all()


def test_so_is_one_that_a_resumed_training_does_before_any_step_that_is_to_be_recorded(tmp_path: Path) -> None:
    hook = DebugHook(tmp_path, DebugOptions(save_interval_train=10))
    hook.watch(net("resnet18", 3), nn.CrossEntropyLoss())
    hook.open_step("train", 13, 2)
    hook.record_loss(math.nan)
    hook.close()
    trial = create_trial(str(tmp_path))
    assert trial.steps(mode=modes.TRAIN) == [13]
    assert np.isnan(trial.tensor(LOSS).value(13, mode=modes.TRAIN)).all()


def test_gradients_are_recorded_without_the_scale_of_float16(tmp_path: Path) -> None:
    hook, model, loss = DebugHook(tmp_path, DebugOptions(save_interval_train=1)), Head(4, 3, 0.0), nn.CrossEntropyLoss()
    (truth,) = torch.autograd.grad(loss(model(torch.ones(2, 4)), torch.tensor([0, 1])), [model.weight])
    hook.watch(model, loss, lambda: 1024.0)
    for step, factor in enumerate((1024.0, math.inf)):  # the second overflows, and is not taken
        hook.open_step("train", step, 0)
        (loss(model(torch.ones(2, 4)), torch.tensor([0, 1])) * factor).backward()
    hook.close()
    gradient = create_trial(str(tmp_path)).tensor("gradient/Head_weight")
    assert gradient.steps(mode=modes.TRAIN) == [0]
    assert gradient.reduction_value(0, "mean", abs=True, mode=modes.TRAIN) == pytest.approx(float(truth.abs().mean()))


def test_the_profile_is_read_by_smdebugs_own_readers(channels: Channels) -> None:
    DebuggedJob(DebugOptions(system_interval=0.1, trace_steps=2))(dataclasses.replace(RECIPE, epochs=1), channels)
    folder = Places.of(channels).profile
    spans = LocalAlgorithmMetricsReader(str(folder)).get_events(0, 2**62)
    steps = [span for span in spans if span.event_name == "Step:ModeKeys.TRAIN"]
    assert [int(span.event_args["step_num"]) for span in steps] == [0, 1, 2, 3]
    assert {span.event_phase for span in spans} >= {"DataIterator", "Forward", "Backward", "Step:ModeKeys.EVAL"}
    values = LocalSystemMetricsReader(str(folder)).get_events(0, 2**62)
    assert {value.dimension for value in values} >= {"CPUUtilization", "MemoryUsedPercent", "I/OWaitPercentage"}
    assert {value.name for value in values if value.type == "cpu"} == {f"cpu{n}" for n in range(os.cpu_count() or 1)}
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]


def command(processes: int = 1) -> list[str]:
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    recipe = arguments_of(dataclasses.replace(RECIPE, epochs=6))  # enough to be interrupted before the end
    return [sys.executable, *start, "-m", "training.finetune_debugger", *recipe, "--save_interval_train=3"]


def losses_of(trial: Any) -> dict[tuple[Any, int], float]:
    """By mode and step; each there once."""
    steps = [trial.mode_modestep(step) for step in trial.steps()]
    assert len(steps) == len(set(steps))
    return {(mode, step): float(trial.tensor(LOSS).value(step, mode=mode)) for mode, step in steps}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Any, int], float]:
    """Losses of the same training without an interruption, in a process of its own too."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_folders(folder / "train", 24, seed=0)
    write_folders(folder / "valid", 8, seed=1000)
    whole = Channels(folder / "train", folder / "valid", None, folder / "model", folder / "output")
    subprocess.run(command(), env=environment_of(whole), cwd=ROOT, capture_output=True, check=True)
    return losses_of(create_trial(str(whole.output / "debug-output")))


@pytest.mark.parametrize(
    "sent", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.drill)], ids=lambda sent: sent.name
)
def test_an_interruption_leaves_one_trial_without_a_step_twice(
    channels: Channels, tmp_path: Path, sent: signal.Signals, undisturbed: dict[tuple[Any, int], float]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    environment = environment_of(channels) | {"SM_CHECKPOINT_DIR": str(tmp_path / "checkpoints")}
    with subprocess.Popen(command(), env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Epoch 2/6"):
                process.send_signal(sent)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[sent]
    resumed = subprocess.run(command(), env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming after epoch" in resumed.stdout
    trial = create_trial(str(tmp_path / "checkpoints" / "debug-output"))
    assert trial.steps(mode=modes.TRAIN) == list(range(0, 24, 3))
    assert trial.steps(mode=modes.EVAL) == list(range(6))
    assert losses_of(trial) == undisturbed


def test_two_processes_leave_one_trial(channels: Channels) -> None:
    recipe = command(2)
    environment = environment_of(channels) | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(recipe, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trial = create_trial(str(channels.output / "debug-output"))
    assert trial.workers() == ["worker_0"]
    assert trial.steps(mode=modes.TRAIN) == list(range(0, 24, 3))
    assert trial.steps(mode=modes.EVAL) == list(range(6))
    assert len(losses_of(trial)) == 14


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_recorded_training_is_the_unrecorded_one(channels: Channels, precision: str) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1, precision=precision)
    watched, alone = DebuggedJob(DebugOptions())(recipe, channels), run(recipe, channels)
    assert all(torch.equal(watched.weights[name], alone.weights[name]) for name in alone.weights)


@pytest.mark.parametrize(
    "given",
    [
        "--save_interval_train=0",
        "--whole_layers=(",
        "--system_interval=0",
        "--system_interval=nan",
        "--trace_steps=many",
    ],
)
def test_options_that_make_no_sense(given: str) -> None:
    with pytest.raises(TrainingError, match=given.split("=")[0].strip("-")):
        split_arguments([given])


def test_the_other_arguments_are_the_trainings() -> None:
    options, rest = split_arguments(["--lr", "0.1", "--save-interval-train", "7", "--whole_layers", "a,b"])
    assert (options.save_interval_train, options.whole_layers, rest) == (7, ("a", "b"), ["--lr", "0.1"])


def test_debuggers_own_configuration_says_where_records_go(
    channels: Channels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "debughookconfig.json").write_text(json.dumps({"LocalPath": "/somewhere/tensors"}))
    monkeypatch.setenv("SM_INPUT_CONFIG_DIR", str(tmp_path))
    assert Places.of(channels).tensors == Path("/somewhere/tensors")
    assert Places.of(channels).profile == channels.output / "profiler-output"
