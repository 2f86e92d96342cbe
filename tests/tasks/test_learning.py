"""From a flow's parameters to recipes, and from jobs to what a person reads of them."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.learning import LearnParameters
from tasks.pipeline.parameters import TuneAndTrainParameters
from tasks.prices import HOURLY_USD, Cost, summed
from tasks.progress import EPOCH
from tasks.settings import Settings
from tasks.training_job import check_precision
from tasks.tuning_picture import Trial, draw_trials
from training.errors import TrainingError
from training.hyperparameters import preset
from training.schedule import Phase


def test_real_photos_get_the_recipes_own_schedule_and_the_demo_a_quick_one() -> None:
    parameters = LearnParameters()
    real = parameters.final_recipe("abid", (1, 2, 3, 4, 5), 0, "v")
    assert real.phases == preset().phases
    assert parameters.final_recipe("demo", (), 0, "v").phases == (Phase(112, 4),)
    assert parameters.trial_recipe(real).phases == (Phase(112, 2),)


def test_trials_see_small_photos_unless_features_are_stored() -> None:
    parameters = LearnParameters(tuning_epochs=1)
    for said, size in (({"recipe": "frozen"}, 224), ({"image_size": 64}, 64), ({"schedule": "96x1,224x2"}, 96)):
        final = parameters.model_copy(update=said).final_recipe("abid", (), 0, "v")
        assert parameters.trial_recipe(final).phases == (Phase(size, 1),)


def test_arithmetic_is_the_recipes_unless_it_is_said() -> None:
    for said, precision in ((None, "auto"), ("float32", "float32")):
        assert LearnParameters(precision=said).final_recipe("abid", (), 0, "v").precision == precision
    assert LearnParameters(recipe="frozen").final_recipe("abid", (), 0, "v").precision == "float32"


def test_what_is_said_about_sizes_holds_for_every_source() -> None:
    assert LearnParameters(schedule="64x1,96x2").final_recipe("demo", (), 0, "v").image_size == 96
    assert LearnParameters(epochs=2).final_recipe("demo", (), 0, "v").phases == (Phase(112, 2),)
    assert LearnParameters(image_size=48).final_recipe("abid", (), 0, "v").phases == (Phase(48, preset().epochs),)


def test_a_count_that_is_answered_is_not_learned_besides() -> None:
    given = LearnParameters(hyperparameters={"extra_classes": "3,4,9"})
    recipe = given.final_recipe("abid", (0, 1, 2, 3), 0, "v")
    assert (recipe.classes, recipe.extra_classes) == ((0, 1, 2, 3), (4, 9))


@pytest.mark.parametrize(
    ("classes", "extra"),
    [
        ((), (0, 6, 7, 8)),
        ((1, 2, 3, 4, 5), (0, 6, 7, 8)),
        ((1, 2, 3), (0, 4, 5, 6)),
        ((2, 5), (0, 1, 3, 4, 6, 7, 8)),
        (tuple(range(11)), (11, 12, 13)),
    ],
)
def test_the_neighbours_of_the_classes_are_learned_besides(classes: tuple[int, ...], extra: tuple[int, ...]) -> None:
    assert LearnParameters().final_recipe("abid", classes, 0, "v").extra_classes == extra
    assert LearnParameters(recipe="frozen").final_recipe("abid", classes, 0, "v").extra_classes == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": "112x8", "epochs": 3}, "either a schedule"),
        ({"schedule": "big"}, "makes no sense"),
        ({"backbone": "vgg"}, "backbone is one of"),
        ({"learning_rates": (0.1, 0.001)}, "lowest learning rate first"),
        ({"precision": "int8"}, "precision is one of"),
        ({"batch_sizes": (0,)}, "greater than 0"),
        ({"batch_sizes": (32, -1)}, "greater than 0"),
        ({"classes": (3,)}, r"classes = \(3,\) makes no sense"),
        ({"classes": (1, 1, 2)}, "makes no sense"),
        ({"classes": (-1, 2)}, "makes no sense"),
        ({"hyperparameters": {"extra_classes": "0,-2"}}, "extra_classes = .* makes no sense"),
        ({"hyperparameters": {"mixup": "inf"}}, "mixup = inf makes no sense"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"warm_start": ("",)}, "not the name of a tuning job"),
        ({"warm_start": ("foo bar",)}, "not the name of a tuning job"),
    ],
)
def test_parameters_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TuneAndTrainParameters(**given)


@pytest.mark.parametrize(
    ("recipe", "target", "instance", "without"),
    [
        ("finetune", "local", "ml.g5.xlarge", "this machine"),
        ("finetune", "aws", "ml.c7g.xlarge", "ml.c7g.xlarge"),
        ("frozen", "aws", "ml.g5.xlarge", "ml.c5.xlarge"),  # a last layer is trained on the head instance
        ("finetune", "aws", "ml.g5.xlarge", None),
        ("finetune", "aws", "ml.p4d.24xlarge", None),
    ],
)
def test_half_precision_without_a_gpu_is_refused_before_anything_is_paid_for(
    recipe: str, target: str, instance: str, without: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    there = Settings().model_copy(update={"target": target, "training_instance": instance})
    check_precision(preset(recipe), there)
    if without is None:
        check_precision(preset(recipe, precision="float16"), there)
        return
    with pytest.raises(TrainingError, match=f"and {without} has none"):
        check_precision(preset(recipe, precision="float16"), there)


def test_cost_is_billable_time_at_the_price_list() -> None:
    costs = {"tune": Cost(instance="ml.c5.xlarge", billable_seconds=7200)}
    assert summed(costs)["usd"] == {"tune": 2 * HOURLY_USD["ml.c5.xlarge"]}
    assert summed(costs)["priced_at"]


def test_what_has_no_price_hides_no_other_cost() -> None:
    huge, small = Cost(instance="ml.x9.huge", billable_seconds=60), Cost(instance="ml.c5.xlarge", billable_seconds=3600)
    section = summed({"tune": small, "train": huge})
    assert section["billable_seconds"] == {"tune": 3600, "train": 60}
    assert section["usd"] == {"tune": section["total_usd"]}
    assert (section["unpriced"], section["priced_in"]) == (["train"], "us-east-1")
    assert "total_usd" not in summed({"train": huge})
    assert "unpriced" not in summed({"tune": small})


def test_epochs_are_found_in_the_lines_that_the_loop_prints() -> None:
    found = EPOCH.search("Epoch 3/20 at 112 px, train loss 1.8")
    assert found
    assert found.groups() == ("3", "20")


def test_trials_are_drawn_those_without_a_result_too() -> None:
    good = Trial(name="a", lr=0.01, batch_size=32, objective=1.4, status="Completed")
    failed = Trial(name="b", lr=0.1, batch_size=64, objective=None, status="Failed: the loss became nan")
    for trials in ([good, failed], [failed], []):
        assert draw_trials(trials, "trials").startswith(b"\x89PNG")
    assert draw_trials([good, failed], "trials") != draw_trials([good], "trials")
