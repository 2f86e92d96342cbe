"""A training job, from its channels to its model, run as SageMaker runs it."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.conftest import CLASSES, photo, write_shard
from training import metrics, model
from training.data import CountDataset
from training.errors import ModelError, TrainingError
from training.hpo import trial
from training.hyperparameters import Channels, Hyperparameters, parse
from training.job import run
from training.loop import learning_rate_factor
from training.outputs import Outputs

RECIPE = Hyperparameters(
    lr=0.02, batch_size=16, epochs=3, backbone="resnet18", image_size=32, classes=CLASSES, seed=3, version="v1"
)
ROOT = Path(__file__).resolve().parents[2]


def test_it_learns_and_says_so_in_the_log(channels: Channels, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(RECIPE, channels)
    assert result.values["accuracy"] > 0.8
    assert metrics.read(capsys.readouterr().out) == pytest.approx(result.values, abs=1e-6)


def test_the_saved_model_predicts_what_was_measured(channels: Channels) -> None:
    result = run(RECIPE, channels)
    network, card = model.load(channels.model)
    assert (card.backbone, card.classes, card.input_size, card.version) == ("resnet18", CLASSES, 32, "v1")
    valid = CountDataset(channels.valid, 32, Outputs(CLASSES))
    inputs = model_inputs(valid, card)
    again = metrics.measure(model.probabilities(network, inputs), valid.counts, CLASSES)
    assert again == pytest.approx(result.values, abs=1e-5)


def model_inputs(data: CountDataset, card: model.ModelCard) -> torch.Tensor:
    from training.preprocessing import normalise

    return normalise(data.pixels, card.mean, card.std)


def test_the_same_seed_gives_the_same_weights(channels: Channels) -> None:
    first, second = (run(dataclasses.replace(RECIPE, epochs=1), channels).weights for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_shards_and_count_folders_are_the_same_data(channels: Channels, tmp_path: Path) -> None:
    write_shard(channels.train, tmp_path / "shards" / "train-00000.parquet")
    folders, shards = (CountDataset(path, 32, Outputs(CLASSES)) for path in (channels.train, tmp_path / "shards"))
    assert folders.ids == shards.ids
    assert torch.equal(folders.pixels, shards.pixels)
    assert folders.digest == shards.digest


def test_a_frozen_backbone_stays_as_it_was(channels: Channels) -> None:
    torch.manual_seed(RECIPE.seed)
    before = model.net("resnet18", len(CLASSES)).state_dict()
    after = run(dataclasses.replace(RECIPE, frozen=True), channels).weights
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_a_trial_measures_but_uploads_no_model(channels: Channels) -> None:
    trial(dataclasses.replace(RECIPE, epochs=1), channels)
    assert not channels.model.exists()
    assert (channels.output / "history.json").exists()


def test_unreadable_photos_and_other_counts_are_left_out_and_named(
    channels: Channels, capsys: pytest.CaptureFixture[str]
) -> None:
    (channels.train / "1" / "broken.jpg").write_bytes(photo(1, 0)[:100])
    (channels.train / "9").mkdir()
    (channels.train / "9" / "many.jpg").write_bytes(photo(1, 0))
    run(dataclasses.replace(RECIPE, epochs=1), channels)
    said = capsys.readouterr().out
    assert "photo broken in train is left out" in said
    assert "1 photos in train have a count that the network has no output for" in said


def test_a_learning_rate_that_explodes_is_refused(channels: Channels) -> None:
    with pytest.raises(TrainingError, match="learning rate"):
        run(dataclasses.replace(RECIPE, lr=1e30), channels)


def test_an_interrupted_training_ends_as_if_it_had_not_been(channels: Channels, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.train", "--epochs", "4", *arguments_of(RECIPE)]
    # Both in processes of their own: the same number of threads, so the same sums to the last bit.
    environment = environment_of(dataclasses.replace(channels, model=tmp_path / "undisturbed"))
    undisturbed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    (tmp_path / "checkpoints").mkdir()
    environment = environment_of(channels) | {"SM_CHECKPOINT_DIR": str(tmp_path / "checkpoints")}
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Epoch 2/4"):
                process.kill()
    resumed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Resuming after epoch" in resumed.stdout
    assert "Epoch 1/4" not in resumed.stdout
    assert metrics.read(resumed.stdout) == metrics.read(undisturbed.stdout)
    weights, expected = (
        torch.load(folder / "model.pth", weights_only=True) for folder in (channels.model, tmp_path / "undisturbed")
    )
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def arguments_of(recipe: Hyperparameters) -> list[str]:
    told = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(recipe).items()}
    return [part for name, value in told.items() if name != "epochs" for part in (f"--{name}", str(value))]


def environment_of(channels: Channels) -> dict[str, str]:
    return {
        **os.environ,
        "SM_CHANNEL_TRAIN": str(channels.train),
        "SM_CHANNEL_VALID": str(channels.valid),
        "SM_MODEL_DIR": str(channels.model),
        "SM_OUTPUT_DATA_DIR": str(channels.output),
    }


def test_a_checkpoint_of_another_recipe_is_refused(channels: Channels, tmp_path: Path) -> None:
    resumable = dataclasses.replace(channels, checkpoints=tmp_path / "checkpoints")
    run(dataclasses.replace(RECIPE, epochs=1), resumable)
    with pytest.raises(TrainingError, match="another recipe"):
        run(dataclasses.replace(RECIPE, epochs=1, lr=0.5), resumable)
    (tmp_path / "checkpoints" / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(TrainingError, match="cannot be read"):
        run(dataclasses.replace(RECIPE, epochs=1), resumable)


def test_no_channel(channels: Channels) -> None:
    shutil.rmtree(channels.valid)
    with pytest.raises(TrainingError, match="no channel folder"):
        run(RECIPE, channels)


def test_a_folder_that_is_not_a_count(channels: Channels) -> None:
    (channels.train / "1").rename(channels.train / "one")
    with pytest.raises(TrainingError, match="not a count folder"):
        run(RECIPE, channels)


def test_a_damaged_shard_is_named(channels: Channels, tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "train-00007.parquet"
    write_shard(channels.train, shard)
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(TrainingError, match=r"train-00007\.parquet"):
        CountDataset(tmp_path / "shards", 32, Outputs(CLASSES))


def test_weights_of_another_backbone_are_refused(channels: Channels, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    torch.save({"layer": torch.zeros(3)}, tmp_path / "weights" / "other.pth")
    with pytest.raises(ModelError, match="not those of resnet18"):
        run(RECIPE, dataclasses.replace(channels, weights=tmp_path / "weights"))


@pytest.mark.parametrize(
    "arguments",
    [["--lr", "-1"], ["--batch_size", "0"], ["--classes", "3"], ["--backbone", "vgg"], ["--warmup", "1"]],
    ids=lambda arguments: arguments[0],
)
def test_hyperparameters_that_make_no_sense(arguments: list[str]) -> None:
    with pytest.raises(TrainingError, match=arguments[0].strip("-")):
        parse(arguments)


def test_hyperparameters_arrive_as_strings() -> None:
    given = parse(["--lr", "0.05", "--batch_size", "64", "--classes", "3,1,2", "--frozen", "True"])
    assert (given.lr, given.batch_size, given.classes, given.frozen) == (0.05, 64, (1, 2, 3), True)


def test_a_failing_job_leaves_its_reason_where_sagemaker_looks(channels: Channels, tmp_path: Path) -> None:
    absent = dataclasses.replace(channels, train=tmp_path / "nowhere")
    environment = environment_of(absent) | {"SM_OUTPUT_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "training.train", "--backbone", "resnet18"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no channel folder" in (tmp_path / "failure").read_text()
    assert "Traceback" not in done.stderr


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    factors = [learning_rate_factor(step, 10, 2) for step in range(11)]
    assert factors.index(max(factors)) == 2
    assert max(factors) == 1
    assert factors[-1] == pytest.approx(0)
    assert learning_rate_factor(0, 1, 0) == 1
