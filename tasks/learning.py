"""What the tuning and training stages take: which recipe, how much of it, and how to search."""

import dataclasses
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, field_validator, model_validator

from training.errors import TrainingError
from training.features import can_stand_for_photos
from training.hyperparameters import Hyperparameters, preset, read
from training.model import BACKBONES
from training.precision import PRECISION_CHOICES
from training.schedule import phases

CLASSES = (1, 2, 3, 4, 5)
TRIAL_SIZE = 112
TUNING_JOB = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}"
"""Names that SageMaker lets tuning jobs have."""

DEMO: dict[str, str | int] = {"image_size": 112, "epochs": 4}
TOLD_OTHERWISE = {
    "lr": "tuning finds it; see --learning-rates",
    "batch_size": "tuning finds it; see --batch-sizes",
    "frozen": "see --recipe",
    "version": "it is the run's name",
    "processes": "set BINVENTORY_TRAINING_PROCESSES",
    **{
        name: f"see --{name.replace('_', '-')}"
        for name in ("backbone", "schedule", "image_size", "epochs", "precision", "classes", "seed")
    },
}
"""Hyperparameters that have an option of their own, and which."""


def _as_text(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


Told = Annotated[str, BeforeValidator(_as_text)]
"""A parameter as jobs are told it; may be given as a number, or as a list of them."""


class Search(BaseModel):
    """What tuning tries, and how."""

    model_config = ConfigDict(frozen=True)

    trials: int
    parallel: int = Field(description="Trials at the same time.")
    learning_rates: tuple[float, float] = Field(description="Lowest and highest, on a log scale.")
    batch_sizes: tuple[int, ...]
    early_stopping: bool = False
    warm_start: tuple[str, ...] = ()


class LearnParameters(BaseModel):
    """How to tune and train. Prefect's UI and the command line are made from this model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Literal["finetune", "frozen"] = Field(
        "finetune",
        title="Recipe",
        description='"finetune" trains everything. "frozen" trains a last layer on an unchanged backbone.',
    )
    backbone: str = Field(
        "efficientnet_lite0",
        title="Backbone",
        description=f"Network that the counter is made of: {', '.join(BACKBONES)}.",
    )
    schedule: str | None = Field(
        None,
        title="Schedule",
        description="Sizes of the photos and epochs at each, like 112x8,144x8,192x4. Default: the recipe's; with the "
        f"demo source {DEMO['image_size']}x{DEMO['epochs']}.",
    )
    image_size: int | None = Field(
        None,
        ge=32,
        le=1024,
        title="Image size",
        description="Side of the network's input, pixels; instead of a schedule.",
    )
    epochs: int | None = Field(
        None, ge=1, title="Epochs", description="Passes over the data in the final training; instead of a schedule."
    )
    precision: str | None = Field(
        None,
        title="Precision",
        description=f"What to compute in: {', '.join(PRECISION_CHOICES)} (this one on a GPU). Default: the recipe's.",
    )
    hyperparameters: dict[str, Told] = Field(
        {},
        title="Hyperparameters",
        description='Others of the recipe\'s, for trials and the final training, like {"weight_decay": "0.1", '
        '"mixup": "0.4"}; `python -m training.train --help` lists them.',
    )
    trials: int = Field(4, ge=1, le=500, title="Trials", description="Trainings that tuning runs.")
    parallel_trials: int = Field(1, ge=1, le=100, title="Parallel trials", description="Trials at the same time.")
    tuning_epochs: int = Field(
        2,
        ge=1,
        title="Tuning epochs",
        description=f"Passes over the data in a trial, on stored features or photos of at most {TRIAL_SIZE} pixels.",
    )
    learning_rates: tuple[float, float] = Field(
        (0.001, 0.1), title="Learning rates", description="Lowest and highest that tuning tries, on a log scale."
    )
    batch_sizes: tuple[PositiveInt, ...] = Field(
        (32, 64, 128), min_length=1, title="Batch sizes", description="Those that tuning tries."
    )
    early_stopping: bool = Field(
        False, title="Early stopping", description="Let tuning end trials that fall behind before they are done."
    )
    warm_start: tuple[str, ...] = Field(
        (), max_length=5, title="Warm start", description="Names of earlier tuning jobs whose trials tuning knows of."
    )

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, backbone: str) -> str:
        if backbone not in BACKBONES:
            raise ValueError(f"backbone is one of {', '.join(BACKBONES)}")
        return backbone

    @field_validator("precision")
    @classmethod
    def _precision_is_known(cls, precision: str | None) -> str | None:
        if precision not in (None, *PRECISION_CHOICES):
            raise ValueError(f"precision is one of {', '.join(PRECISION_CHOICES)}")
        return precision

    @field_validator("schedule")
    @classmethod
    def _schedule_can_be_read(cls, schedule: str | None) -> str | None:
        if schedule is not None:
            try:
                phases(schedule)
            except TrainingError as error:
                raise ValueError(str(error)) from error
        return schedule

    @field_validator("hyperparameters")
    @classmethod
    def _hyperparameters_make_sense(cls, given: dict[str, str]) -> dict[str, str]:
        for name in given:
            if name in TOLD_OTHERWISE:
                raise ValueError(f"{name} is not among the hyperparameters that can be given: {TOLD_OTHERWISE[name]}")
        try:
            preset(**{name: value for name, value in read(given).items() if name != "extra_classes"})
        except TrainingError as error:
            raise ValueError(str(error)) from error
        return given

    @field_validator("learning_rates")
    @classmethod
    def _learning_rates_rise(cls, rates: tuple[float, float]) -> tuple[float, float]:
        if not 0 < rates[0] < rates[1]:
            raise ValueError("give the lowest learning rate first, above zero")
        return rates

    @field_validator("warm_start")
    @classmethod
    def _warm_start_names_jobs(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not re.fullmatch(TUNING_JOB, name):
                raise ValueError(f"{name!r} is not the name of a tuning job: letters, digits and dashes, 32 at most")
        return names

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "LearnParameters":
        if self.schedule is not None and (self.image_size is not None or self.epochs is not None):
            raise ValueError("give either a schedule, or an image size and epochs")
        return self

    def final_recipe(self, source: str, classes: tuple[int, ...], seed: int, version: str) -> Hyperparameters:
        """How the final training goes, before tuning has chosen its learning rate and batch size.

        Rendered photos are learned from a few looks at small ones; real photos get the recipe's own schedule.

        Raises:
            TrainingError: it makes no sense.
        """
        own = {name: getattr(self, name) for name in ("schedule", "image_size", "epochs", "precision")}
        said: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        if source == "demo" and "schedule" not in said:
            said = DEMO | said
        said |= read(self.hyperparameters)
        classes = classes or CLASSES
        if "extra_classes" in said:  # what is answered need not be learned besides
            said["extra_classes"] = tuple(count for count in said["extra_classes"] if count not in classes)
        return preset(
            self.recipe,
            **said,
            backbone=self.backbone,
            classes=classes,
            seed=seed,
            version=version,
        )

    def trial_recipe(self, final: Hyperparameters) -> Hyperparameters:
        """How a tuning trial goes: like the final training, but short and on small photos."""
        size = final.phases[0].size
        if not can_stand_for_photos(final):  # features are computed once for trials and the final training
            size = min(size, TRIAL_SIZE)
        return dataclasses.replace(final, schedule="", image_size=size, epochs=self.tuning_epochs, test_flip=False)

    def search(self) -> Search:
        """What tuning tries, and how."""
        return Search(
            trials=self.trials,
            parallel=self.parallel_trials,
            learning_rates=self.learning_rates,
            batch_sizes=self.batch_sizes,
            early_stopping=self.early_stopping,
            warm_start=self.warm_start,
        )
