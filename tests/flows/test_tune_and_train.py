"""Tuning and training as a flow of its own, with the frozen recipe."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from flows import tune_and_train
from tasks.debugger.evaluate import RULES
from tasks.debugger.managed import TENSOR_RULES
from tests.flows.pipelines import check_quiet
from tests.forking import Commands
from tests.installation import Installation
from training.errors import DebuggerError
from training.memory import MEMORY_ENVIRONMENT

SMALL = (
    "--demo-photos=100",
    "--recipe=frozen",
    "--image-size=32",
    "--epochs=2",
    "--tuning-epochs=1",
    "--trials=2",
    "--save-interval-train=5",
    '--hyperparameters={"weight_decay": 0.02}',
)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Of an installation whose services are up."""
    running = Installation(tmp_path_factory.mktemp("learning") / "home")
    with running.services():
        yield Commands(running)
    assert running.processes() == []


@pytest.fixture
def running(commands: Commands) -> Installation:
    return commands.installation


def test_features_are_computed_once_and_a_search_goes_on_from_another(
    running: Installation, commands: Commands
) -> None:
    said = running.run("flows.tune_and_train", *SMALL)
    first = running.summary()
    check_quiet(said)
    assert list(first["stages"]) == ["prepare", "features", "tune", "train", "debug"]
    assert first["tuning"]["jobs"] == 2
    assert first["cost"]["billable_seconds"].keys() == {"features", "tune", "train"}
    assert first["cost"]["instances"] == {
        "features": "ml.g5.xlarge",
        "tune": "ml.c5.xlarge",
        "train": "ml.c5.xlarge",
    }
    assert 0 < first["cost"]["total_usd"] < 1
    assert first["cost"]["priced_at"]

    search = ("--warm-start", first["tuning"]["job_name"], "--early-stopping", "--learning-rates", "0.005,0.02")
    commands.run("flows.tune_and_train", *SMALL, *search)
    second = running.summary()
    assert second["run_id"] != first["run_id"]
    assert 0.005 <= second["tuning"]["best"]["lr"] <= 0.02
    assert "features" not in second["cost"]["billable_seconds"]

    client = running.client("sagemaker")
    jobs = [job["TrainingJobName"] for job in client.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]]
    assert sum("-features-" in name for name in jobs) == 1
    tuning = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=second["tuning"]["job_name"])
    assert tuning["HyperParameterTuningJobConfig"]["TrainingJobEarlyStoppingType"] == "Auto"
    assert tuning["WarmStartConfig"]["WarmStartType"] == "TransferLearning"
    final = client.describe_training_job(TrainingJobName=next(name for name in jobs if "-train-" in name))
    assert final["Environment"] == tuning["TrainingJobDefinition"]["Environment"] == MEMORY_ENVIRONMENT
    told = final["HyperParameters"]
    assert (told["save_interval_train"], told["save_interval_eval"], told["weight_decay"]) == ("5", "1", "0.02")

    shown = running.prefect("artifacts/filter")
    pictures = {artifact["key"]: artifact for artifact in shown if artifact["type"] == "image"}
    assert pictures["tuning-trials"]["data"].startswith("data:image/png;base64,")
    assert all(pictures[f"debugger-{name}"]["data"].startswith("data:image/svg") for name in ("losses", "phases"))
    [*_, judged] = (json.loads(artifact["data"]) for artifact in shown if artifact["key"] == "debugger-rules")
    assert {row["rule"] for row in judged} == RULES.keys()
    progress = {artifact["description"]: artifact["data"] for artifact in shown if artifact["type"] == "progress"}
    assert progress["Trials of the tuning: 2 of 2"] == 100
    assert progress["Epochs of the training: 2 of 2"] == 100
    assert progress["Features: done"] == 100


def test_a_loss_that_explodes_ends_the_run_with_a_page_of_what_was_recorded(
    running: Installation, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It explodes after a trial's only step: all photos are one batch. With Debugger, records go to its place."""
    monkeypatch.setitem(running.environment, "BINVENTORY_DEBUGGER", "true")
    exploding = ("--batch-sizes=128", "--learning-rates=1e30,1e31", "--trials=1", "--epochs=4")
    said = commands.run("flows.tune_and_train", *SMALL, *exploding, code=1)
    assert "Traceback" not in said
    assert re.search("the validation loss became nan in epoch [234]", said), said
    page = running.home / "runs" / "latest" / "debugger.html"
    assert f"What it recorded, judged: {running.home / 'runs'}" in said.replace("\n", "")
    assert re.search(r"<b>ExplodingTensor</b></td><td><span class=\"mark IssuesFound\">", page.read_text())
    client = running.client("sagemaker")
    failed = client.list_training_jobs(StatusEquals="Failed", NameContains="-train-")["TrainingJobSummaries"]
    request = client.describe_training_job(TrainingJobName=failed[0]["TrainingJobName"])
    assert request["DebugHookConfig"]["HookParameters"]["train.save_interval"] == "5"
    assert {rule["RuleConfigurationName"] for rule in request["DebugRuleConfigurations"]} == {*TENSOR_RULES}


def test_a_rule_that_fires_ends_the_training_and_the_run_is_told_of_it_again(
    running: Installation, commands: Commands
) -> None:
    threshold = json.dumps({"WeightUpdateRatio": {"large_threshold": "1e-9"}})  # which every training exceeds
    watched = (
        "--recipe=finetune",
        "--image-size=64",
        "--epochs=500",
        "--trials=1",
        "--rules",
        threshold,
        "--stop-on=WeightUpdateRatio",
    )
    said = commands.run("flows.tune_and_train", *SMALL, *watched, code=1)
    assert "was stopped: the rule WeightUpdateRatio fired (train step 0," in said
    assert "Traceback" not in said
    said = commands.run("flows.tune_and_train", *SMALL, *watched, code=1)  # picks the run up, and is told of that rule
    assert "was stopped, SageMaker does not say by whom, and the rule WeightUpdateRatio fired (train step 0," in said
    client = running.client("sagemaker")
    ended = client.list_training_jobs(StatusEquals="Stopped", NameContains="-train-")["TrainingJobSummaries"]
    assert len(ended) == 1
    assert f"debug_report --job-name {ended[0]['TrainingJobName']}" in said


def test_a_page_that_cannot_be_made_does_not_hide_why_a_training_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise DebuggerError("the training job a-job still runs")

    monkeypatch.setattr(tune_and_train, "debug_job", refuse)
    record: Any = SimpleNamespace(folder=tmp_path)
    said = tune_and_train._report_on("a-job", record, {})
    assert "still runs" in said
    assert said.endswith("python -m flows.debug_report --job-name a-job")
