"""The stages of the pipeline, what each of them needs of earlier ones, and where a run gets that from.

A new stage has its name and its needs here, its call in the flow that it belongs to, a section in
`tasks.pipeline.results` (and there its cost), a line in `tasks.run_table`, if it has much to show a part of
``report.html.j2``, and its requests in `tasks.plan`.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.names import LOOKS_LIKE_A_RUN, RUN_ID
from tasks.pipeline.earlier_runs import find_donor
from tasks.run_record import Run
from tasks.run_table import in_words
from tasks.settings import Settings

Stage = Literal["prepare", "tune", "train", "debug", "evaluate", "register", "deploy", "night"]
STAGES: tuple[Stage, ...] = get_args(Stage)
NEEDS: dict[str, tuple[Stage, ...]] = {
    "tune": ("prepare",),
    "train": ("prepare", "tune"),
    "debug": ("train",),
    "evaluate": ("prepare", "train"),
    "register": ("prepare", "train", "evaluate"),
    "deploy": ("register",),
    "night": ("prepare", "evaluate", "register"),
}
"""Whose results each stage takes."""


class StageParameters(BaseModel):
    """Which stages to run, and where what they need comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    first: Stage = Field(
        "prepare",
        alias="from",
        title="From",
        description="Begin with this stage; what earlier ones leave is taken from the newest run that has it. Where "
        "Source is given, as the form in Prefect's UI does, from the newest of that source.",
    )
    skip: tuple[Stage, ...] = Field(
        (), title="Skip", description="Leave these stages out; what a later one needs of them is taken likewise."
    )
    run: str | None = Field(
        None,
        title="Run",
        description="With From or Skip: the run whose earlier stages it takes. Default: the newest that has them.",
        pattern=RUN_ID,
        json_schema_extra=LOOKS_LIKE_A_RUN,
    )
    resume: str | None = Field(
        None,
        title="Resume",
        description="Go on with a run that died or failed, with its options: its id, or newest, which the command line "
        "also takes from --resume alone.",
        pattern=rf"^newest$|{RUN_ID}",
        json_schema_extra={"without_value": "newest"} | LOOKS_LIKE_A_RUN,
    )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages to run, in their order."""
        return tuple(stage for stage in STAGES[STAGES.index(self.first) :] if stage not in self.skip)

    @model_validator(mode="after")
    def _something_is_left(self) -> "StageParameters":
        if not self.stages:
            raise ValueError(f"nothing is left to run: {in_words(self.skip)} left out, and {self.first} is the first")
        return self

    @model_validator(mode="after")
    def _an_earlier_run_is_needed(self) -> "StageParameters":
        if self.run is not None and not _needed(self.stages):
            raise ValueError("run is taken from only by a run that begins later or leaves out stages: add from or skip")
        return self

    @model_validator(mode="after")
    def _resume_stands_alone(self) -> "StageParameters":
        fields = type(self).model_fields
        others = [name for name in fields if name != "resume" and getattr(self, name) != fields[name].get_default()]
        if self.resume is not None and others:
            raise ValueError(f"a run is resumed with the options that it had: leave out {in_words(sorted(others))}")
        return self


def find_earlier(stages: Collection[str], settings: Settings, donor: str | None, **wanted: str) -> Path | None:
    """Return the run that has what these stages need of others; None where they need nothing.

    Args:
        stages: names of `STAGES` that are to be done.
        settings: where runs are.
        donor: id of the earlier run; None: the newest that has everything.
        wanted: what the earlier run's summary must say, like its source.

    Raises:
        RunError: no run has it; names what is missing.
    """
    needed = _needed(stages)
    return find_donor(settings, needed, donor, wanted) if needed else None


def set_out(run: Run, stages: Collection[str], settings: Settings, donor: str | None, **wanted: str) -> None:
    """Set a run to do these stages, and give it what they need of others from an earlier run: see `find_earlier`.

    What it took it keeps, so that a run that is picked up goes on with the same.
    """
    run.wanted = {*stages, "features"}  # which tuning and training compute on their way
    if run.taken_from is None and (earlier := find_earlier(stages, settings, donor, **wanted)):
        run.take_from(earlier, _needed(stages))


def _needed(stages: Collection[str]) -> list[Stage]:
    return [stage for stage in STAGES if stage not in stages and any(stage in NEEDS.get(s, ()) for s in stages)]
