"""Which model of the registry a night counts and judges with, and with which one bins were judged before."""

from collections.abc import Iterable, Sequence
from typing import Any

from tasks.home import write_at_home
from tasks.nightly.judge import Policy
from tasks.nightly.night import Night
from tasks.nightly.outcomes import forget_outcomes
from tasks.nightly.parameters import NightParameters
from tasks.nightly.policy import policy_of
from tasks.release.registry import RegisteredModel, approved_model, find_model, models, named_model
from tasks.release.serving_now import archive_behind
from tasks.settings import Settings
from training.errors import ModelError


def model_of_run(night: Night) -> tuple[RegisteredModel, list[str]]:
    """Return the one model for all photos of a run, and what a person should know of it.

    Another one than an earlier start had is taken only where that was turned away since, or where the endpoint serves
    another; then what the earlier start counted is forgotten, and counted anew.

    Raises:
        ModelError: as `model_of_night`.
    """
    kept = night.folder / "model.txt"
    had = kept.read_text() if kept.exists() else None
    if had and not night.parameters.endpoint and (model := _still_approved(had, night.settings)):
        return model, []
    model, remarks = model_of_night(night.parameters, night.settings)
    if had not in (None, model.arn):
        forget_outcomes(night.folder)
    write_at_home(kept, model.arn)
    return model, remarks


def _still_approved(arn: str, settings: Settings) -> RegisteredModel | None:
    try:
        model = find_model(arn, settings)
    except ModelError:  # it was deleted
        return None
    return model if model.status == "Approved" else None


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


def judged_by(night: Night, rows: Sequence[Any]) -> tuple[str, Policy | None]:
    """Return the model that rows of the ledger were counted with, and the policy that they were judged by.

    What a run did not count itself has the model of the run that did. The name is empty where nothing was counted; of
    several models all are named. The policy is None where it is not one, or not known any more.
    """
    counted = night.counted
    runs = {night.run_id if row.photo in counted else row.run for row in rows if row.status == "counted"}
    known = {run: row.model for run, row in night.ledger.nights_of(runs).items()}
    known |= {night.run_id: night.model} if night.model else {}
    names = {known.get(run, "") for run in runs}
    if names <= {night.model}:
        return night.model, night.policy if night.model else None
    said = ", ".join(sorted(names - {""}))
    model = named_model(said, night.settings) if len(names) == 1 else None
    return said, policy_of(model.facts) if model else None


def policies_of(night: Night, runs: Iterable[str]) -> dict[str, Policy]:
    """Return the thresholds of the models that runs counted with, by run; absent where nobody knows them."""
    names = {run: row.model for run, row in night.ledger.nights_of(runs).items()}
    models = {name: named_model(name, night.settings) for name in set(names.values()) - {""}}
    return {run: policy_of(model.facts) for run, name in names.items() if (model := models.get(name))}


def _asked_for(which: str, settings: Settings) -> RegisteredModel:
    return approved_model(settings) if which == "newest" else find_model(which, settings)
