"""The whole pipeline, run as a user runs it: real servers, real jobs, real photos."""

import time
from pathlib import Path

import pytest

from tests.installation import Installation

SMALL = (
    "--demo-photos=160",
    "--image-size=48",
    "--trials=2",
    "--tuning-epochs=1",
    "--epochs=1",
    "--smoke-photos=5",
    "--transform-photos=10",
)


@pytest.mark.photos
def test_real_photos_from_the_list_to_the_endpoint(installation: Installation, real_photos: Path) -> None:
    installation.run("tasks.services", "up")
    installation.localcloud(
        "load-bucket", "aft-vbi-pds", str(real_photos / "images.tar"), str(real_photos / "metadata.tar.gz")
    )
    said = installation.run(
        "flows.full_pipeline",
        *("--source", "abid", "--file-list", str(real_photos / "file_list.json"), "--limit", "600"),
        *("--image-size", "64", "--tuning-epochs", "1", "--epochs", "2"),
    )
    assert "Traceback" not in said
    summary = installation.summary()

    assert summary["images"]["listed"] == 600
    assert summary["images"]["missing"] == summary["images"]["corrupt"] == 0
    assert summary["splits"]["grouped"]
    assert sum(summary["splits"][name] for name in ("train", "valid", "test")) == 600
    assert summary["tuning"]["jobs"] == 3
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

    # The endpoint and the batch job answer what evaluation measured, photo for photo.
    smoke = summary["endpoint"]["smoke"]
    assert smoke["equal"] == smoke["photos"] == 20
    assert smoke["largest_difference"] < 2e-3
    assert summary["transform"] == {"photos": 50, "equal": 50}

    # Prefect knows the run and all its tasks, by name.
    flows = {run["name"]: run for run in installation.prefect("flow_runs/filter")}
    assert flows["full pipeline on abid"]["state_type"] == "COMPLETED"
    tasks = installation.prefect("task_runs/filter")
    assert 10 <= len(tasks) <= 99
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    names = {task["name"] for task in tasks}
    assert {"tune", "train", "evaluate", "deploy binventory", "smoke test", "batch transform"} <= names
    installation.run("tasks.services", "down")


def test_a_killed_run_goes_on_and_runs_no_finished_job_again(installation: Installation) -> None:
    killed = installation.start("flows.full_pipeline", *SMALL)
    deadline = time.monotonic() + 600
    while "tuning" not in installation.summary():
        assert killed.poll() is None, killed.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    killed.kill()
    killed.communicate()
    before = installation.summary()
    jobs_before = jobs(installation)

    said = installation.run("flows.full_pipeline", *SMALL)
    after = installation.summary()
    assert "Traceback" not in said
    assert after["run_id"] == before["run_id"]
    assert after["tuning"] == before["tuning"]
    assert after["transform"]["photos"] == after["transform"]["equal"] > 0

    # The training was watched, and judged; an earlier job's report is made again by its name.
    rules = after["debugger"]["rules"]
    assert rules["ExplodingTensor"] == "NoIssuesFound"
    assert (installation.home / "runs" / after["run_id"] / "debugger.html").exists()
    told = installation.run("flows.debug_report", "--job-name", after["training"]["job_name"])
    assert "outside TRAIN and EVAL (the old system: 67.6%)" in " ".join(told.split())
    assert (installation.home / "debugger" / after["training"]["job_name"] / "debugger.html").exists()
    missing = installation.run("flows.debug_report", "--job-name", "no-such-job", code=1)
    assert "there is no training job 'no-such-job'" in missing
    assert installation.processes() == []

    installation.localcloud("up")
    jobs_after = jobs(installation)
    installation.localcloud("down")
    assert {name: jobs_after[name] for name in jobs_before} == jobs_before
    assert sum("-train-" in name for name in jobs_after) == 1
    assert sum("-hpo-" in name for name in jobs_after) == 2


def jobs(installation: Installation) -> dict[str, str]:
    """When each training job began, by name; those under way are left out."""
    found = installation.client("sagemaker").list_training_jobs(MaxResults=100)["TrainingJobSummaries"]
    return {
        job["TrainingJobName"]: str(job["CreationTime"]) for job in found if job["TrainingJobStatus"] == "Completed"
    }


def test_what_was_refused_is_said_once_and_without_a_traceback(installation: Installation) -> None:
    said = installation.run("flows.full_pipeline", "--source", "s3://no-such-bucket", code=1)
    assert "There is no bucket 'no-such-bucket'" in said.splitlines()[-2] + said.splitlines()[-1]
    assert "Traceback" not in said
    assert installation.summary()["source"] == "s3://no-such-bucket"
