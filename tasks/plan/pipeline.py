"""Flows of several stages, asked for in a rehearsal."""

from tasks.nightly.held_back import photos_uri
from tasks.nightly.parameters import NightParameters
from tasks.pipeline.parameters import FullPipelineParameters, TuneAndTrainParameters
from tasks.plan import counting, learning, release
from tasks.plan.placeholders import RUN
from tasks.plan.plan import Draft
from training.errors import RunError


def full_pipeline(draft: Draft, parameters: FullPipelineParameters) -> None:
    """Ask for what the wanted stages of ``flows.full_pipeline`` ask for.

    Raises:
        RunError: the plan of a run that is resumed is asked for, or of one that has the source of an earlier run.
    """
    if parameters.resume:
        raise RunError("a run that is resumed has asked for a part already: plan it with its own options instead")
    if not parameters.names_its_source:
        raise RunError("a run without the stage prepare has the source of an earlier run: say --source to plan it")
    wanted = parameters.stages
    if "prepare" in wanted:
        learning.prepare(draft, parameters)
    learning.learn(draft, parameters, wanted)
    if "evaluate" in wanted:
        release.evaluate(draft, parameters, parameters.endpoint_name)
    if "register" in wanted:
        release.register_model(draft)
        if draft.settings.approval == "manual":
            return
    if "deploy" in wanted:
        release.deploy(draft, parameters.endpoint_name, str(parameters.smoke_photos))
    if "night" in wanted:
        counting.hold_back(draft, parameters, parameters.night_photos)
        counting.count_night(draft, NightParameters(prefix=photos_uri(RUN, draft.settings)))


def tune_and_train(draft: Draft, parameters: TuneAndTrainParameters) -> None:
    """Ask for what ``flows.tune_and_train`` asks for."""
    learning.prepare(draft, parameters)
    learning.learn(draft, parameters)
