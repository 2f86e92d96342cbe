"""A training job, from its channels to its model, run as SageMaker runs it."""

import dataclasses
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.training.conftest import CLASSES, photo, write_shard
from training import metrics, model
from training.data import CountDataset, _room
from training.errors import InterruptedTrainingError, ModelError, TrainingError
from training.hpo import trial
from training.hyperparameters import Channels, Hyperparameters, parse, preset
from training.job import main, run
from training.observer import Mode, Observer
from training.outputs import Outputs
from training.precision import Precision, chosen

RECIPE = Hyperparameters(
    lr=0.02, batch_size=16, epochs=3, backbone="resnet18", image_size=32, classes=CLASSES, seed=3, version="v1"
)

FINETUNE = preset(
    schedule="32x2,48x2",
    batch_size=16,
    backbone="resnet18",
    classes=CLASSES,
    mixup_until=1.0,
    seed=3,
    precision="float32",
)


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
    assert [photo.rpartition("/")[2] for photo in folders.ids] == [f"{photo}.jpg" for photo in shards.ids]
    assert torch.equal(folders.counts, shards.counts)
    assert torch.equal(folders.pixels, shards.pixels)


def test_the_model_says_what_it_was_trained_in(channels: Channels, capsys: pytest.CaptureFixture[str]) -> None:
    run(dataclasses.replace(RECIPE, epochs=1, precision="auto"), channels)
    used = model.load_card(channels.model).hyperparameters["precision"]
    assert used == chosen("auto", torch.device("cpu"))
    assert f"threads, {used}" in capsys.readouterr().out


def test_a_frozen_backbone_stays_as_it_was(channels: Channels) -> None:
    before = model.net("resnet18", 1000).state_dict()
    weights = channels.train.with_name("weights")
    weights.mkdir()
    torch.save(before, weights / "resnet18.pth")
    after = run(dataclasses.replace(RECIPE, frozen=True, epochs=1), dataclasses.replace(channels, weights=weights))
    changed = {name for name in after.weights if not torch.equal(before[name], after.weights[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_a_training_without_pretrained_weights_says_so(
    channels: Channels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(dataclasses.replace(RECIPE, epochs=1), channels)
    assert "starts from random weights" in capsys.readouterr().out
    with pytest.raises(TrainingError, match="set SM_CHANNEL_WEIGHTS"):
        run(dataclasses.replace(RECIPE, frozen=True), channels)
    (tmp_path / "weights").mkdir()
    with pytest.raises(TrainingError, match=r"weights holds no \.pth file"):
        run(RECIPE, dataclasses.replace(channels, weights=tmp_path / "weights"))


def test_a_trial_measures_but_uploads_no_model(channels: Channels) -> None:
    trial(dataclasses.replace(RECIPE, epochs=1), channels)
    assert not channels.model.exists()
    assert (channels.output / "history.json").exists()


class Terminated(Observer):
    """SIGTERM comes in the second step."""

    def step(self, mode: Mode, step: int, loss: float, photos: int) -> None:
        if (mode, step) == ("train", 1):
            signal.raise_signal(signal.SIGTERM)


def test_trials_go_on_from_their_own_checkpoints_and_leave_none_to_fetch(
    channels: Channels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    channels, short = dataclasses.replace(channels, checkpoints=tmp_path), dataclasses.replace(RECIPE, epochs=1)
    monkeypatch.setenv("TRAINING_JOB_NAME", "hpo-001")
    with pytest.raises(InterruptedTrainingError):
        trial(short, channels, Terminated())
    for name, recipe in (("hpo-002", dataclasses.replace(short, lr=0.01)), ("hpo-001", short), ("hpo-001", short)):
        monkeypatch.setenv("TRAINING_JOB_NAME", name)
        trial(recipe, channels)
    left = {path.parent.name: path.stat().st_size for path in tmp_path.rglob("checkpoint.pt")}
    assert left == {"hpo-001": 0, "hpo-002": 0}
    assert capsys.readouterr().out.count("Resuming after epoch 0") == 1


def test_unreadable_photos_and_other_counts_are_left_out_and_named(
    channels: Channels, capsys: pytest.CaptureFixture[str]
) -> None:
    (channels.train / "1" / "broken.jpg").write_bytes(photo(1, 0)[:100])
    (channels.train / "9").mkdir()
    (channels.train / "9" / "many.jpg").write_bytes(photo(1, 0))
    run(dataclasses.replace(RECIPE, epochs=1), channels)
    said = capsys.readouterr().out
    assert "photo 1/broken.jpg in train is left out" in said
    assert "1 photos in train have a count that the network has no output for" in said


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_served_is_what_was_measured_mirror_image_and_average_too(channels: Channels, precision: str) -> None:
    result = run(dataclasses.replace(FINETUNE, precision=precision), channels)
    network, card = model.load(channels.model)
    assert (card.test_flip, card.input_size) == (True, 48)
    valid = CountDataset(channels.valid, 48, card.outputs)
    rows = card.outputs.answers(model.probabilities(network, model_inputs(valid, card), card.test_flip))[0]
    assert metrics.measure(rows, valid.counts, CLASSES) == pytest.approx(result.values, abs=1e-5)
    assert [epoch["size"] for epoch in result.history] == [32, 32, 48, 48]
    assert result.epoch in (3, 4)


def test_photos_that_do_not_fit_into_memory_are_the_same_photos(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting = CountDataset(channels.valid, 32, Outputs(CLASSES))
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    mapped = CountDataset(channels.valid, 32, Outputs(CLASSES))
    assert torch.equal(mapped.pixels, fitting.pixels)
    for data in (fitting, mapped):
        data.resize(48)
    assert mapped.pixels.shape[-1] == 48
    assert torch.equal(mapped.pixels, fitting.pixels)


def test_a_validation_split_without_a_count_in_range_is_refused_before_the_training(
    channels: Channels, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in ("1", "2"):
        shutil.rmtree(channels.valid / count)
    with pytest.raises(TrainingError, match=r"no photo of the validation split has a count among \[1, 2\]"):
        run(dataclasses.replace(RECIPE, classes=(1, 2), extra_classes=(3,)), channels)
    assert "Epoch" not in capsys.readouterr().out


def test_processes_of_a_host_share_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_AVPHYS_PAGES": 2 * 3 * 32 * 32, "SC_PAGE_SIZE": 1}  # twice what a photo takes
    monkeypatch.setattr("os.sysconf", pages.get)
    files, from_file = [], torch.from_file

    def noted(name: str, **how: Any) -> torch.Tensor:
        files.append(name)
        return from_file(name, **how)

    monkeypatch.setattr("torch.from_file", noted)
    _room(1, 32)
    assert not files
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    _room(1, 32)
    assert len(files) == 1


def test_photos_that_change_under_a_training_are_noticed(channels: Channels) -> None:
    data = CountDataset(channels.valid, 32, Outputs(CLASSES))
    next(iter(sorted(channels.valid.glob("*/*.jpg")))).unlink()
    with pytest.raises(TrainingError, match="has changed since the training began"):
        data.resize(48)


def test_mixed_precision_trains_and_keeps_weights_whole(channels: Channels) -> None:
    result = run(dataclasses.replace(FINETUNE, schedule="", image_size=32, epochs=1, precision="bfloat16"), channels)
    assert all(weight.dtype == torch.float32 for weight in result.weights.values() if weight.is_floating_point())
    with pytest.raises(TrainingError, match="float16 needs a GPU"):
        Precision("float16", torch.device("cpu"))


def test_a_learning_rate_that_explodes_is_refused(channels: Channels) -> None:
    with pytest.raises(TrainingError, match="learning rate"):
        run(dataclasses.replace(RECIPE, lr=1e30), channels)


def test_a_checkpoint_of_another_recipe_is_refused(channels: Channels, tmp_path: Path) -> None:
    resumable = dataclasses.replace(channels, checkpoints=tmp_path / "checkpoints")
    run(dataclasses.replace(RECIPE, epochs=1), resumable)
    with pytest.raises(TrainingError, match="another recipe"):
        run(dataclasses.replace(RECIPE, epochs=1, lr=0.5), resumable)
    (tmp_path / "checkpoints" / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(TrainingError, match="cannot be read"):
        run(dataclasses.replace(RECIPE, epochs=1), resumable)


def test_a_class_that_train_has_no_photo_of_is_named(channels: Channels) -> None:
    shutil.rmtree(channels.train / "2")
    with pytest.raises(TrainingError, match="no photo with count 2"):
        run(RECIPE, channels)


def test_one_photo_is_too_few(channels: Channels) -> None:
    for extra in sorted(channels.train.glob("*/*.jpg"))[1:]:
        extra.unlink()
    with pytest.raises(TrainingError, match="at least 2"):
        run(RECIPE, channels)


def test_a_batch_larger_than_the_data_is_all_of_it(channels: Channels, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(dataclasses.replace(RECIPE, batch_size=1000, epochs=2), channels)
    assert len(result.history) == 2
    assert "a step is on all 72 photos" in capsys.readouterr().out


def test_extra_counts_that_no_photo_has_get_no_output(channels: Channels) -> None:
    run(dataclasses.replace(RECIPE, classes=(1, 2), extra_classes=(0, 3, 4), epochs=1), channels)
    assert model.load_card(channels.model).outputs.counts == (1, 2, 3)


def test_no_channel(channels: Channels) -> None:
    shutil.rmtree(channels.valid)
    with pytest.raises(TrainingError, match="no channel folder"):
        run(RECIPE, channels)


@pytest.mark.parametrize("held", ["nothing", "photos without a count", "a shard without rows"])
def test_a_channel_without_photos(held: str, tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    if held == "photos without a count":
        (folder / "a.jpg").write_bytes(photo(1, 0))
    elif held == "a shard without rows":
        pq.write_table(pa.table({"id": [""], "count": [1], "image": [b""]}).slice(1), folder / "train-00000.parquet")
    with pytest.raises(TrainingError, match="train holds no photo: it takes shards"):
        CountDataset(folder, 32, Outputs(CLASSES))


@pytest.mark.parametrize("missing", ["id", "count", "image"])
def test_a_row_without_a_value_is_named(missing: str, tmp_path: Path) -> None:
    row = {"id": ["a"], "count": pa.array([1], pa.int32()), "image": [photo(1, 0)]}
    table = pa.table(row).set_column(list(row).index(missing), missing, pa.nulls(1, pa.table(row)[missing].type))
    pq.write_table(table, tmp_path / "train-00000.parquet")
    with pytest.raises(TrainingError, match=r"train-00000\.parquet has a row without"):
        CountDataset(tmp_path, 32, Outputs(CLASSES))


def test_photos_of_equal_names_and_of_every_suffix_are_photos_of_their_own(tmp_path: Path) -> None:
    names = ["1/000.jpg", "1/001.JPG", "2/000.jpeg", "2/000.jpg", "2/001.PNG"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo(int(name[0]), 0))
    (tmp_path / "2" / "000.jpg").write_bytes(b"no photo")
    (tmp_path / "1" / "notes.txt").write_text("no photo either")
    data = CountDataset(tmp_path, 32, Outputs(CLASSES))
    data.resize(48)
    assert data.ids == [name for name in names if name != "2/000.jpg"]
    assert data.unreadable.keys() == {"2/000.jpg"}


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
    [
        ["--lr", "-1"],
        ["--lr", "inf"],
        ["--lr", "quick"],
        ["--lr"],
        ["--mixup", "inf"],
        ["--batch_size", "0"],
        ["--batch_size", "64.5"],
        ["--seed", "-1"],
        ["--classes", "3"],
        ["--classes", "1,a"],
        ["--classes=-1,2"],
        ["--backbone", "vgg"],
        ["--warmup", "1"],
        ["--frozen", "1"],
        ["--frozen", "yes"],
        ["--learning_rat", "1"],
    ],
    ids=" ".join,
)
def test_hyperparameters_that_make_no_sense(arguments: list[str]) -> None:
    with pytest.raises(TrainingError, match=arguments[0].strip("-").partition("=")[0]):
        parse(arguments)


def test_what_cannot_be_read_is_told_to_sagemaker(
    channels: Channels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SM_OUTPUT_DIR", str(tmp_path))
    assert main(run, ["--frozen", "yes"]) == 1
    assert "frozen = 'yes' cannot be read as true or false" in (tmp_path / "failure").read_text()
    assert main(run, ["--learning_rat", "1"]) == 1
    assert "unrecognized arguments: --learning_rat" in (tmp_path / "failure").read_text()


def test_hyperparameters_arrive_as_strings() -> None:
    given = parse(["--lr", "0.05", "--batch_size", "64", "--classes", "3,1,2", "--frozen", "True"])
    assert (given.lr, given.batch_size, given.classes, given.frozen) == (0.05, 64, (1, 2, 3), True)
    # As JSON, in which tuning jobs and some tools write them.
    assert parse(["--lr", '"0.05"', "--batch_size", '"64"', "--classes", '"3,1,2"', "--frozen", '"True"']) == given
    assert parse(["--epochs", "2.0", "--backbone", '"resnet18"']) == parse(["--epochs", "2", "--backbone", "resnet18"])
