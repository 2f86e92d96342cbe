"""Whether AWS lets a search go on from an earlier one's trials: the restrictions of its guide on warm starts.

Source: SageMaker Developer Guide, "Run a Warm Start Hyperparameter Tuning Job", Warm Start Tuning Restrictions.
"""

from collections.abc import Mapping

from botocore.exceptions import ClientError

from tasks import code_archive, sdk
from tasks.jobs import is_missing
from tasks.learning import Search
from tasks.settings import Settings
from tasks.training_job import code_uri
from tasks.tuning import TUNED, trial_hyperparameters
from training.errors import TrainingError
from training.hyperparameters import Hyperparameters

MOST_CHANGES = 10
CHANGES_A_VALUE = 2
"""The old value and the new one count."""

_RANGES = ("continuous_parameter_ranges", "integer_parameter_ranges", "categorical_parameter_ranges")


def check_warm_start(recipe: Hyperparameters, search: Search, settings: Settings) -> None:
    """Refuse earlier searches that AWS would refuse, before data and features are paid for.

    Args:
        recipe: of a trial.
        search: names the earlier searches.
        settings: where the code of trials will lie.

    Raises:
        TrainingError: there is no such search, or too much of it is otherwise.
    """
    if not search.warm_start:
        return
    request = trial_hyperparameters(code_uri(code_archive.training_code(), settings), recipe)
    for name in search.warm_start:
        if reason := _refusal(name, request):
            raise TrainingError(f"the search cannot start from the tuning job {name}: {reason}")


def _refusal(name: str, request: Mapping[str, str]) -> str:
    try:
        job = sdk.HyperParameterTuningJob.get(name)
    except ClientError as error:
        if is_missing(error):
            return "there is none of this name here; is it of another account, region or home?"
        raise
    told = job.training_job_definition.static_hyper_parameters
    static = {key: value for key, value in told.items() if not key.startswith("_")}  # the others are AWS's own
    ranges = job.hyper_parameter_tuning_job_config.parameter_ranges
    tuned = sum(len(found) for kind in _RANGES if isinstance(found := getattr(ranges, kind), list))
    there, here = len(static) + tuned, len(request) + len(TUNED)
    if there != here:
        return (
            f"it has {there} hyperparameters and this one would have {here}, and AWS wants the same number: search "
            "without --warm-start"
        )
    changed = sorted(key for key, value in request.items() if static.get(key) != value)
    if CHANGES_A_VALUE * len(changed) > MOST_CHANGES:
        return (
            f"{len(changed)} hyperparameters differ ({', '.join(changed)}), and AWS takes "
            f"{MOST_CHANGES // CHANGES_A_VALUE} at most: give the recipe and options of its run, or search without "
            "--warm-start"
        )
    return ""
