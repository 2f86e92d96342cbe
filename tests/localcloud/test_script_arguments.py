"""Hyperparameters on their way to a script: what SageMaker and its training toolkit's shell make of them."""

import pytest

from localcloud.errors import JobFailedError
from localcloud.training.container import script_arguments, user_parameters


def arguments(**told: str) -> list[str]:
    return script_arguments(user_parameters({"HyperParameters": told}))


def test_empty_values_do_not_arrive() -> None:
    assert arguments(lr="0.1", schedule="", seed="0") == ["--lr", "0.1", "--seed", "0"]
    assert arguments(schedule='""', seed="0") == ["--schedule", "--seed", "0"]  # JSON's, which the toolkit decodes


def test_a_shell_takes_what_it_takes_on_aws() -> None:
    assert arguments(name="two words", regex=r"fc\.weight", tag="it''s") == [
        *("--name", "two", "words"),
        *("--regex", "fc.weight"),
        *("--tag", "its"),
    ]


@pytest.mark.parametrize("value", ["(conv|fc)", "a;b", "$(id)", "`id`", "a>b", "it's", "#1"])
def test_what_a_shell_would_act_on_fails_the_job(value: str) -> None:
    with pytest.raises(JobFailedError, match="to a shell"):
        arguments(regex=value)
