"""What the flows of the pipeline take. Prefect's UI and the command line are made from these models.

A form shows the fields of a model's last base first, so bases stand in reverse order.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.data.prepared_data import PrepareParameters
from tasks.debugger.parameters import WatchParameters
from tasks.learning import LearnParameters
from tasks.names import ENDPOINT, LOOKS_LIKE_A_RUN, LOOKS_LIKE_AN_ENDPOINT, RUN_ID
from tasks.pipeline.stages import StageParameters
from training.errors import TrainingError


class TuneAndTrainParameters(WatchParameters, LearnParameters, PrepareParameters):
    """Prepare data unless that is done, tune, and train."""

    @model_validator(mode="after")
    def _recipe_makes_sense(self) -> "TuneAndTrainParameters":
        """Make the recipe, so that nonsense is refused before data and jobs are paid for."""
        try:
            self.final_recipe(self.source, self.classes, self.seed, "unnamed")
        except TrainingError as error:
            raise ValueError(str(error)) from error
        return self


class ReleaseParameters(BaseModel):
    """What measuring and deploying a model take."""

    endpoint_name: str = Field(
        "binventory",
        title="Endpoint",
        description="Endpoint of the model; the one behind it now is measured on the same photos.",
        pattern=ENDPOINT,
        json_schema_extra=LOOKS_LIKE_AN_ENDPOINT,
    )
    smoke_photos: int = Field(20, ge=1, title="Smoke photos", description="Test photos to ask the endpoint about.")


class EvaluateParameters(ReleaseParameters):
    """Measure the newest trained model, or that of another run, and register it with what the gate says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str | None = Field(
        None,
        title="Run",
        description="Whose model, and data; default: the newest that has both.",
        pattern=RUN_ID,
        json_schema_extra=LOOKS_LIKE_A_RUN,
    )


class FullPipelineParameters(ReleaseParameters, TuneAndTrainParameters, StageParameters, PrepareParameters):
    """Prepare data, tune, train, evaluate, deploy, and count a first night."""

    night_photos: int = Field(
        1000, ge=1, title="First night", description="Count at most so many of the photos held back for testing."
    )

    @property
    def names_its_source(self) -> bool:
        """Whether what earlier runs left is of use only if it is of the same source."""
        return "prepare" in self.stages or "source" in self.model_fields_set

    def of(self, kind: Any) -> Any:
        """Those of them that another flow takes."""
        return kind(**self.model_dump(include=set(kind.model_fields) - {"run"}))
