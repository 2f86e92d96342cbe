"""A preset, and what is said explicitly over it."""

import dataclasses

import pytest

from tests.toolkit import command_line
from training.arguments import as_argument
from training.errors import TrainingError
from training.hyperparameters import Hyperparameters, parse, preset
from training.recipes import PRESETS
from training.schedule import Phase


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_whole_recipe(name: str) -> None:
    recipe = preset(name)
    assert recipe.image_size == recipe.phases[-1].size
    assert recipe == parse(["--recipe", name])


def test_a_job_that_is_told_nothing_fine_tunes() -> None:
    assert parse([]) == preset("finetune")


def test_what_is_said_explicitly_outranks_the_preset() -> None:
    given = parse(["--recipe", "frozen", "--lr", "0.05", "--frozen", "false"])
    assert (given.lr, given.frozen, given.batch_size) == (0.05, False, 64)


def test_classes_given_by_hand_bring_their_own_neighbours() -> None:
    assert preset().extra_classes == (0, 6, 7, 8)
    assert parse(["--classes", "0,1,2,3,4,5"]).extra_classes == (6, 7, 8)
    assert parse(["--classes", "1,2,3,4,5,6,7,8"]).extra_classes == (0, 9, 10, 11)
    assert parse(["--classes", "1,2", "--extra_classes", "7"]).extra_classes == (7,)


def test_a_size_or_a_number_of_epochs_makes_one_phase() -> None:
    assert preset(image_size=48, epochs=2).phases == (Phase(48, 2),)
    assert preset(epochs=2).phases == (Phase(preset().image_size, 2),)
    assert preset(schedule="64x1,96x2").image_size == 96


@pytest.mark.parametrize(
    "recipe",
    [
        preset("finetune", seed=7),
        preset("frozen", schedule="112x1,144x2"),
        preset("frozen", image_size=64, epochs=2, augmentation="none"),  # one phase, as trials have it
    ],
)
def test_a_recipe_survives_the_way_to_the_job(recipe: Hyperparameters) -> None:
    told = {name: as_argument(value) for name, value in dataclasses.asdict(recipe).items()}
    assert parse(command_line(told)) == recipe
    assert all(told.values())  # SageMaker drops empty ones


def test_contradictions_and_unknown_recipes_are_refused() -> None:
    with pytest.raises(TrainingError, match="ends at 96 pixels after 3 epochs"):
        dataclasses.replace(preset(schedule="64x1,96x2"), epochs=9)
    with pytest.raises(TrainingError, match="frozen, finetune"):
        preset("thawed")
    with pytest.raises(TrainingError, match="no recipe"):
        parse(["--recipe", "x"])
    assert Hyperparameters(image_size=64, epochs=2).phases == (Phase(64, 2),)
