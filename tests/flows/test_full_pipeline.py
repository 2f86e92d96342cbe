"""The whole pipeline, run as a user runs it: real servers, real jobs, real photos."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import full_pipeline
from tasks.pipeline.parameters import FullPipelineParameters
from tasks.release.registry import RegisteredModel
from tests.flows.pipelines import (
    STAGES,
    check_quiet,
    finish,
    flow_runs,
    jobs,
    kill_at_random,
    left_serving,
)
from tests.installation import Installation


@pytest.mark.photos
def test_real_photos_from_the_list_to_the_first_night(installation: Installation, real_photos: Path) -> None:
    installation.run("tasks.services", "up")
    installation.localcloud(
        "load-bucket", "aft-vbi-pds", str(real_photos / "images.tar"), str(real_photos / "metadata.tar.gz")
    )
    said = installation.run(
        "flows.full_pipeline",
        *("--source", "abid", "--file-list", str(real_photos / "file_list.json"), "--limit", "400"),
        *("--image-size", "64", "--trials", "2", "--tuning-epochs", "1", "--epochs", "2"),
    )
    check_quiet(said)
    summary = installation.summary()

    assert summary["images"]["listed"] == 400
    assert summary["images"]["missing"] == summary["images"]["corrupt"] == 0
    assert summary["splits"]["grouped"]
    assert sum(summary["splits"][name] for name in ("train", "valid", "test")) == 400
    assert summary["tuning"]["jobs"] == 2
    assert 0.001 <= summary["tuning"]["best"]["lr"] <= 0.1
    assert summary["tuning"]["best"]["batch_size"] in (32, 64, 128)
    evaluation = summary["evaluation"]
    assert evaluation["n"] == summary["splits"]["test"]
    assert sum(map(sum, evaluation["confusion"])) == evaluation["n"]
    assert 0 < evaluation["accuracy"] < 1
    assert summary["benchmark"] == {"accuracy": 0.5567, "rmse": 0.930}
    assert 0 <= evaluation["ece"] <= 1
    assert evaluation["intervals"]["accuracy"][0] < evaluation["accuracy"] < evaluation["intervals"]["accuracy"][1]
    assert evaluation["triage"]["auc"] > 0
    assert summary["model"]["approved"]
    assert "model-package" in summary["model"]["package_arn"]
    assert "The worst errors" in (installation.home / "runs" / "latest" / "evaluation.html").read_text()

    # The endpoint and the first night's batch job answer what evaluation measured, photo for photo.
    smoke, night = summary["endpoint"]["smoke"], summary["night"]
    assert smoke["equal"] == smoke["photos"] == 20
    assert smoke["largest_difference"] < 2e-3
    assert night["equal"] == night["counted"] == evaluation["n"]
    assert night["largest_difference"] < 2e-3
    assert night["match"] + night["mismatch"] + night["uncertain"] == night["counted"]

    # Prefect knows the run and all its tasks, by name.
    flows = {run["name"]: run for run in installation.prefect("flow_runs/filter")}
    assert flows["full pipeline on abid"]["state_type"] == "COMPLETED"
    assert {"prepare abid", "tune and train on abid", "evaluate", "deploy model 1 to binventory"} <= flows.keys()
    tasks = installation.prefect("task_runs/filter")
    assert 10 <= len(tasks) <= 99
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    names = {task["name"] for task in tasks}
    assert {"tune", "train", "evaluate", "deploy binventory", "smoke test", "count chunk 1"} <= names
    installation.run("tasks.services", "down")


def test_a_registered_model_is_deployed_by_its_arn_which_means_it_in_whatever_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(full_pipeline, "deploy", lambda parameters: parameters.model)
    arn = "arn:aws:sagemaker:us-east-1:000000000000:model-package/trials/3"
    about = {"arn": arn, "version": 3, "status": "Approved", "name": "m", "uri": "s3://b/m", "reason": "", "facts": {}}
    run = SimpleNamespace(result=lambda stage, kind: RegisteredModel.model_validate(about))
    deployed: Any = full_pipeline._deploy(run, FullPipelineParameters())  # type: ignore[arg-type]
    assert deployed == arn


@pytest.mark.timeout(3600)
def test_killed_and_resumed_it_does_nothing_twice(installation: Installation) -> None:
    """That it ends as an undisturbed run takes one, and many kills: a drill has them."""
    said = kill_at_random(installation, kills=2, seed=8)
    said += finish(installation).splitlines()
    assert "Traceback" not in "\n".join(said), "\n".join(said)
    summary = installation.summary()
    assert [folder.name for folder in (installation.home / "runs").glob("*-*")] == [summary["run_id"]]
    assert list(summary["stages"]) == STAGES
    assert summary["night"]["equal"] == summary["night"]["counted"] > 0
    assert installation.processes() == []

    installation.run("tasks.services", "up")
    # The training was watched, and judged; an earlier job's report is made again by its name.
    rules = summary["debugger"]["rules"]
    assert rules["ExplodingTensor"] == "NoIssuesFound"
    told = installation.run("flows.debug_report", "--job-name", summary["training"]["job_name"])
    assert "outside TRAIN and EVAL (the old system: 67.6%)" in " ".join(told.split())
    missing = installation.run("flows.debug_report", "--job-name", "no-such-job", code=1)
    assert "there is no training job 'no-such-job'" in missing

    nothing = installation.run("flows.full_pipeline", "--resume", code=1)
    assert "No run of full_pipeline waits to be picked up" in " ".join(nothing.split())
    check_what_is_in_the_cloud(installation)
    assert flow_runs(installation) == ["COMPLETED", "CRASHED", "FAILED"]  # the last is the --resume that found nothing
    check_one_stage_alone(installation)
    check_what_was_refused_is_said_once_and_without_a_traceback(installation)
    installation.run("tasks.services", "down")


def check_what_is_in_the_cloud(installation: Installation) -> None:
    """No job ran twice, one endpoint serves one model, and nothing else is left. The cloud is up."""
    ran, left = jobs(installation), left_serving(installation)
    assert ran == ["hpo", "hpo-001", "hpo-002", "night", "train"]
    assert left["endpoints"] == ["binventory"]
    assert {name: len(found) for name, found in left.items()} == dict.fromkeys(left, 1)


def check_one_stage_alone(installation: Installation) -> None:
    """A stage goes on from what a run left."""
    before = installation.summary()
    installation.run("flows.full_pipeline", "--from", "register", "--skip", "deploy,night")
    after = installation.summary()
    assert after["run_id"] != before["run_id"]
    assert list(after["stages"]) == ["register"]
    assert after["taken"] == {"run_id": before["run_id"], "stages": ["prepare", "train", "evaluate"]}
    assert after["model"]["approved"]
    assert "evaluation" not in after

    installation.run("flows.full_pipeline", "--from", "night")
    night = installation.summary()
    assert list(night["stages"]) == ["night"]
    assert night["taken"] == {"run_id": after["run_id"], "stages": ["prepare", "evaluate", "register"]}
    assert night["night"]["equal"] == night["night"]["counted"] == before["night"]["counted"]


def check_what_was_refused_is_said_once_and_without_a_traceback(installation: Installation) -> None:
    said = installation.run("flows.full_pipeline", "--source", "s3://no-such-bucket", code=1)
    assert "There is no bucket 'no-such-bucket'" in said.splitlines()[-2] + said.splitlines()[-1]
    assert "Traceback" not in said
    assert installation.summary()["source"] == "s3://no-such-bucket"
