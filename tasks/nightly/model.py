"""Which model of the registry a night counts and judges with."""

from tasks.nightly.parameters import NightParameters
from tasks.release.registry import RegisteredModel, approved_model, find_model, models
from tasks.release.serving_now import archive_behind
from tasks.settings import Settings
from training.errors import ModelError


def model_of_night(parameters: NightParameters, settings: Settings) -> tuple[RegisteredModel, list[str]]:
    """Return the model, and what a person should know of it.

    Behind an endpoint that is the model which the endpoint serves, approved or not, since its thresholds belong to it;
    where the registry does not know it, the newest approved one lends its thresholds.

    Raises:
        ModelError: none is approved and none serves, there is no such model, or the endpoint answers nobody.
    """
    if not parameters.endpoint:
        return _asked_for(parameters.model, settings), []
    served, unknown = _behind(parameters.endpoint)
    try:
        wanted = _asked_for(parameters.model, settings)
    except ModelError:
        wanted = None
        if parameters.model != "newest":
            raise
    if wanted and wanted.uri == served:
        return wanted, []
    where = f"endpoint {parameters.endpoint} serves"
    known = next((model for model in models(settings) if model.uri == served), None)
    if parameters.model == "newest" and known:
        newest = f"the newest that is approved is version {wanted.version}" if wanted else "none is approved"
        return known, [f"{where} model version {known.version}, which is {known.status}; {newest}"]
    if wanted is None:
        raise ModelError(
            f"{where} no model of the group {settings.model_group!r}, and none there is approved to judge by"
        )
    what = f"model version {known.version}" if known else unknown or f"no model of the group {settings.model_group!r}"
    return wanted, [f"{where} {what}; bins are judged by the thresholds of version {wanted.version}"]


def _behind(endpoint: str) -> tuple[str | None, str | None]:
    """The archive that an endpoint serves; or why nobody knows it."""
    try:
        served = archive_behind(endpoint)
    except ModelError as error:
        return None, f"what nobody knows ({error})"
    if served is None:
        raise ModelError(f"there is no endpoint {endpoint} in service, so that nothing can be counted through it")
    return served, None


def _asked_for(which: str, settings: Settings) -> RegisteredModel:
    return approved_model(settings) if which == "newest" else find_model(which, settings)
