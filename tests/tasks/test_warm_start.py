"""Which earlier searches a search can start from, by AWS's limits."""

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker.core.resources import HyperParameterTuningJob
from sagemaker.core.shapes import CategoricalParameterRange, ContinuousParameterRange, ParameterRanges

from tasks.learning import LearnParameters, Search
from tasks.settings import Settings
from tasks.tuning import trial_hyperparameters
from tasks.warm_start import check_warm_start
from training.errors import TrainingError
from training.hyperparameters import Hyperparameters

SEARCH = Search(trials=1, parallel=1, learning_rates=(0.01, 0.1), batch_sizes=(32,), warm_start=("earlier",))


def trial(version: str, seed: int = 0, **said: Any) -> Hyperparameters:
    parameters = LearnParameters(**said)
    return parameters.trial_recipe(parameters.final_recipe("abid", (), seed, version))


def searched(recipe: Hyperparameters, **more: str) -> Any:
    """An earlier search, of older code; AWS adds a hyperparameter of its own."""
    static = trial_hyperparameters("s3://b/code/old", recipe) | {"_tuning_objective_metric": "loss"} | more
    ranges = ParameterRanges(
        continuous_parameter_ranges=[ContinuousParameterRange(name="lr", min_value="0.1", max_value="1")],
        categorical_parameter_ranges=[CategoricalParameterRange(name="batch_size", values=["32", "64"])],
    )
    return SimpleNamespace(
        training_job_definition=SimpleNamespace(static_hyper_parameters=static),
        hyper_parameter_tuning_job_config=SimpleNamespace(parameter_ranges=ranges),
    )


def check(recipe: Hyperparameters, earlier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HyperParameterTuningJob, "get", lambda _: earlier)
    check_warm_start(recipe, SEARCH, Settings())


def test_a_search_starts_from_one_of_the_same_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    check(trial("second", seed=1), searched(trial("first")), monkeypatch)


def test_a_search_of_another_recipe_is_refused_with_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"tuning job earlier: \d+ hyperparameters differ \(.*dropout.*\), and AWS"):
        check(trial("second", recipe="frozen"), searched(trial("first")), monkeypatch)


def test_a_search_with_another_number_of_hyperparameters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="AWS wants the same number"):
        check(trial("second"), searched(trial("first"), of_an_older_version="1"), monkeypatch)


def test_a_search_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(_: str) -> None:
        raise ClientError(
            {"Error": {"Code": "ResourceNotFound", "Message": "Requested resource not found."}}, "Describe"
        )

    monkeypatch.setattr(HyperParameterTuningJob, "get", get)
    with pytest.raises(TrainingError, match="there is none of this name"):
        check_warm_start(trial("second"), SEARCH, Settings())
