"""The whole pipeline, run as a user runs it: real servers, real jobs, real photos."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import full_pipeline
from tasks.pipeline.parameters import FullPipelineParameters
from tasks.release.registry import RegisteredModel
from tests.flows.pipelines import (
    SMALL,
    STAGES,
    check_quiet,
    finish,
    flow_runs,
    jobs,
    kill_at_random,
    left_serving,
)
from tests.forking import Commands
from tests.installation import PHOTOS, Installation


def test_a_registered_model_is_deployed_by_its_arn_which_means_it_in_whatever_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(full_pipeline, "deploy", lambda parameters: parameters.model)
    arn = "arn:aws:sagemaker:us-east-1:000000000000:model-package/trials/3"
    about = {"arn": arn, "version": 3, "status": "Approved", "name": "m", "uri": "s3://b/m", "reason": "", "facts": {}}
    run = SimpleNamespace(result=lambda stage, kind: RegisteredModel.model_validate(about))
    deployed: Any = full_pipeline._deploy(run, FullPipelineParameters())  # type: ignore[arg-type]
    assert deployed == arn


REAL = (
    *("--source", "abid", "--file-list", str(PHOTOS / "file_list.json"), "--limit", "400"),
    *("--image-size", "64", "--trials", "2", "--tuning-epochs", "1", "--epochs", "2"),
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("real", [False, pytest.param(True, marks=[pytest.mark.drill, pytest.mark.photos])])
def test_killed_and_resumed_it_does_nothing_twice(
    installation: Installation, request: pytest.FixtureRequest, real: bool
) -> None:
    """From the list to the first night, on rendered and on real photos.

    That it ends as an undisturbed run takes one, and many kills: a drill has them.
    """
    if real:
        photos: Path = request.getfixturevalue("real_photos")
        installation.localcloud("up")
        archives = (str(photos / "images.tar"), str(photos / "metadata.tar.gz"))
        installation.localcloud("load-bucket", "aft-vbi-pds", *archives)
    commands = Commands(installation)
    said = kill_at_random(commands, kills=2, seed=8, arguments=REAL if real else SMALL)
    said += finish(commands).splitlines()
    assert "Traceback" not in "\n".join(said), "\n".join(said)
    summary = installation.summary()
    assert [folder.name for folder in (installation.home / "runs").glob("*-*")] == [summary["run_id"]]
    assert list(summary["stages"]) == STAGES
    check_what_was_measured(summary, photos=400 if real else 107)
    assert "The worst errors" in (installation.home / "runs" / "latest" / "evaluation.html").read_text()
    if real:
        installation.localcloud("down")
    assert installation.processes() == []

    with installation.services():
        check_what_prefect_has(installation, summary["source"])
        check_what_the_debugger_says(commands, summary)
        nothing = commands.run("flows.full_pipeline", "--resume", code=1)
        assert "No run of full_pipeline waits to be picked up" in " ".join(nothing.split())
        check_what_is_in_the_cloud(installation)
        check_one_stage_alone(commands)
        check_what_was_refused_is_said_once_and_without_a_traceback(commands)


def check_what_was_measured(summary: dict[str, Any], photos: int) -> None:
    """Photos with 1 to 5 objects were used once; the endpoint and the first night answer what evaluation measured."""
    assert summary["images"]["listed"] == photos
    assert summary["images"]["missing"] == summary["images"]["corrupt"] == 0
    assert summary["splits"]["grouped"]
    assert sum(summary["splits"][name] for name in ("train", "valid", "test")) == photos
    assert summary["tuning"]["jobs"] == 2
    assert 0.001 <= summary["tuning"]["best"]["lr"] <= 0.1
    assert summary["tuning"]["best"]["batch_size"] in (32, 64, 128)
    evaluation = summary["evaluation"]
    assert sum(map(sum, evaluation["confusion"])) == evaluation["n"] == summary["splits"]["test"]
    assert summary["benchmark"] == {"accuracy": 0.5567, "rmse": 0.930}
    assert 0 <= evaluation["ece"] <= 1
    assert evaluation["intervals"]["accuracy"][0] <= evaluation["accuracy"] <= evaluation["intervals"]["accuracy"][1]
    assert summary["model"]["approved"]
    assert "model-package" in summary["model"]["package_arn"]

    smoke, night = summary["endpoint"]["smoke"], summary["night"]
    assert smoke["equal"] == smoke["photos"] >= 5
    assert smoke["largest_difference"] < 2e-3
    assert night["equal"] == night["counted"] == evaluation["n"]
    assert night["largest_difference"] < 2e-3
    assert sum(night[name] for name in ("match", "mismatch", "uncertain", "overtaken")) == night["counted"]


def check_what_prefect_has(installation: Installation, source: str) -> None:
    """Prefect knows the run and all its tasks, by name. The server is up."""
    assert flow_runs(installation) == ["COMPLETED", "CRASHED"]
    names = {run["name"] for run in installation.prefect("flow_runs/filter")}
    assert {f"full pipeline on {source}", f"prepare {source}", f"tune and train on {source}"} <= names
    assert {"evaluate", "deploy model 1 to binventory"} <= names
    tasks = {task["name"] for task in installation.prefect("task_runs/filter")}
    assert {"tune", "train", "evaluate", "deploy binventory", "smoke test", "count chunk 1"} <= tasks


def check_what_the_debugger_says(commands: Commands, summary: dict[str, Any]) -> None:
    """The training was watched, and judged; an earlier job's report is made again by its name."""
    assert summary["debugger"]["rules"]["ExplodingTensor"] == "NoIssuesFound"
    told = commands.run("flows.debug_report", "--job-name", summary["training"]["job_name"])
    assert "outside TRAIN and EVAL (the old system: 67.6%)" in " ".join(told.split())
    missing = commands.run("flows.debug_report", "--job-name", "no-such-job", code=1)
    assert "there is no training job 'no-such-job'" in missing


def check_what_is_in_the_cloud(installation: Installation) -> None:
    """No job ran twice, one endpoint serves one model, and nothing else is left. The cloud is up."""
    ran, left = jobs(installation), left_serving(installation)
    assert ran == ["hpo", "hpo-001", "hpo-002", "night", "train"]
    assert left["endpoints"] == ["binventory"]
    assert {name: len(found) for name, found in left.items()} == dict.fromkeys(left, 1)


def check_one_stage_alone(commands: Commands) -> None:
    """A stage goes on from what a run left."""
    installation = commands.installation
    before = installation.summary()
    told = commands.run("flows.full_pipeline", "--from", "register", "--skip", "deploy,night")
    check_quiet(told)
    assert "'full pipeline from register on'" in told
    after = installation.summary()
    assert after["run_id"] != before["run_id"]
    assert list(after["stages"]) == ["register"]
    assert after["taken"] == {"run_id": before["run_id"], "stages": ["prepare", "train", "evaluate"]}
    assert after["model"]["approved"]
    assert "evaluation" not in after

    check_quiet(commands.run("flows.full_pipeline", "--from", "night"))
    night = installation.summary()
    assert list(night["stages"]) == ["night"]
    assert night["taken"] == {"run_id": after["run_id"], "stages": ["prepare", "evaluate", "register"]}
    assert night["night"]["equal"] == night["night"]["counted"] == before["night"]["counted"]


def check_what_was_refused_is_said_once_and_without_a_traceback(commands: Commands) -> None:
    said = commands.run("flows.full_pipeline", "--source", "s3://no-such-bucket", code=1)
    assert "There is no bucket 'no-such-bucket'" in said.splitlines()[-2] + said.splitlines()[-1]
    assert "Traceback" not in said
    assert commands.installation.summary()["source"] == "s3://no-such-bucket"
