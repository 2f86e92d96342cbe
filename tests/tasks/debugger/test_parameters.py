"""What a user says of recording and of hyperparameters reaches the job, and advice names what a user can say."""

import re

import pytest

from flows.command_line import parse
from tasks.debugger.evaluate import RULES
from tasks.learning import TOLD_OTHERWISE
from tasks.pipeline.parameters import FullPipelineParameters, TuneAndTrainParameters
from tasks.settings import Settings
from tasks.training_job import JobInputs, Script, final_training
from tests.toolkit import command_line
from training import hyperparameters
from training.debugger.options import DebugOptions, split_arguments

INPUTS = JobInputs(
    run_id="r", code="s3://b/code", weights="s3://b/w", train="s3://b/t", valid="s3://b/v", data_digest=""
)


def final(*arguments: str, settings: Settings | None = None) -> Script:
    """The final training of a flow that is started so."""
    parameters = parse(FullPipelineParameters, "x", list(arguments)).of(TuneAndTrainParameters)
    recipe = parameters.final_recipe("abid", (), 0, "v")
    return final_training(INPUTS, recipe, settings or Settings(), parameters.recording)


def told(script: Script) -> list[str]:
    return command_line(script.request)


def test_what_is_to_be_recorded_reaches_the_job() -> None:
    said = ("--save-interval-train=5", "--save-interval-eval=2", "--whole-layers=_fc,conv1", "--system-interval=0.5")
    script = final(*said, "--trace-steps=3", settings=Settings(debugger=True))
    options = DebugOptions(5, 2, ("_fc", "conv1"), 0.5, 3)
    assert split_arguments(told(script))[0] == script.debugger == options
    assert split_arguments(told(final()))[0] == DebugOptions()
    assert final().debugger is None
    assert script.name != final().name  # a job that records otherwise is another job


def test_patterns_reach_the_job_whole_though_a_shell_reads_its_command_line() -> None:
    patterns = r"(conv|fc).*weight$,_fc\.weight,^a b;'x'$(id)"
    script = final(f"--whole-layers={patterns}")
    assert split_arguments(told(script))[0].whole_layers == tuple(patterns.split(","))


def test_hyperparameters_that_are_given_reach_the_job() -> None:
    script = final("--hyperparameters", '{"weight_decay": 0.1, "mixup": "0.4", "extra_classes": [0, 5, 6]}')
    recipe = hyperparameters.parse(split_arguments(told(script))[1])
    assert (recipe.weight_decay, recipe.mixup, recipe.extra_classes) == (0.1, 0.4, (0, 6))  # 5 is a class
    assert recipe.dropout == 0.3  # the recipe's own
    parameters = TuneAndTrainParameters(hyperparameters={"test_flip": "false", "average": "0.9"})
    trial = parameters.trial_recipe(parameters.final_recipe("demo", (), 0, "v"))
    assert trial.average == 0.9


def test_parameters_of_rules_may_be_numbers() -> None:
    numbers = parse(FullPipelineParameters, "x", ["--rules", '{"Overfit": {"ratio_threshold": 0.3, "patience": 2}}'])
    assert numbers.rules == {"Overfit": {"ratio_threshold": "0.3", "patience": "2"}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hyperparameters", '{"weight_decoy": 1}'], "there is no hyperparameter 'weight_decoy'"),
        (["--hyperparameters", '{"mixup": "much"}'], "hyperparameter mixup = 'much' cannot be read"),
        (["--hyperparameters", '{"dropout": 2}'], "hyperparameter dropout = 2.0 makes no sense"),
        (["--hyperparameters", '{"lr": 0.1}'], "tuning finds it; see --learning-rates"),
        (["--save-interval-train", "0"], "--save-interval-train"),
        (["--whole-layers", "("], "'(' is not a regular expression"),
        (["--system-interval", "0"], "--system-interval"),
        (["--system-interval", "90"], "--system-interval"),
        (["--trace-steps", "500"], "--trace-steps"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(FullPipelineParameters, "x", arguments)
    assert said in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("rule", RULES)
def test_advice_names_what_a_user_can_set(rule: str) -> None:
    named = set(re.findall(r"`([^`]*)`", RULES[rule].advice))
    can_be_set = {*TuneAndTrainParameters.model_fields, *Settings.model_fields}
    can_be_set |= hyperparameters.HELP.keys() - TOLD_OTHERWISE.keys()
    assert named
    assert named <= can_be_set
