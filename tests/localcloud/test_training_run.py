"""The work of one training job, in this process: what befalls it while its script runs."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from localcloud import logs
from localcloud.operations import Cloud
from localcloud.resources import TRAINING_JOB
from localcloud.training.jobs import add_training_job
from localcloud.training.outcome import Outcome
from localcloud.training.output import FolderSync
from localcloud.training.run import TrainingRun, job_folder
from tests.localcloud.hosting import wait_until


def start(here: Cloud, script: str, metrics: int = 0, **more: Any) -> Path:
    """Start a job of a shell script; returns its log."""
    request = {
        "TrainingJobName": "job",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        "AlgorithmSpecification": {
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/sh", "-c"],
            "ContainerArguments": [script],
            "MetricDefinitions": [{"Name": f"m{number}", "Regex": "metric=(.)"} for number in range(metrics)],
        },
        **more,
    }
    add_training_job(here, request)
    return job_folder(here, "job") / "algo-1" / "process" / "log.jsonl"


def said(log: Path) -> list[str]:
    return [event.message for event in logs.read(log)]


def described(here: Cloud) -> dict[str, Any]:
    job = here.store.get(TRAINING_JOB.key, "job")
    assert job is not None
    return job


def test_a_job_that_cannot_be_followed_leaves_no_process(here: Cloud, tmp_path: Path) -> None:
    """The database is full when the metrics are to be stored."""
    script = f"echo $$; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo metric=1; sleep 600"
    log = start(here, script, metrics=1000)
    pid = int(wait_until(lambda: said(log))[0])
    with here.store.transaction() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    (tmp_path / "go").touch()
    wait_until(lambda: described(here)["TrainingJobStatus"] == "Failed")
    assert "disk is full" in described(here)["FailureReason"]
    assert not psutil.pid_exists(pid)


def test_a_spot_interruption_is_none_the_less_one_when_the_service_is_killed_meanwhile(
    here: Cloud, tmp_path: Path
) -> None:
    script = f"trap 'echo told' TERM; echo ready; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 3"
    log = start(here, script, EnableManagedSpotTraining=True)
    wait_until(lambda: "ready" in said(log))
    here.faults.interrupt_spot(0)
    wait_until(lambda: "told" in said(log))
    here.workers.stop()  # the service is gone, the script not yet
    (tmp_path / "go").touch()
    process = here.processes.find(log.parent)
    assert process is not None
    process.wait(10)
    here.workers.stopping.clear()
    assert TrainingRun(here, "job")._watch([process]) == Outcome("Interrupted")


def test_a_folder_that_a_script_removes_does_not_end_its_job(here: Cloud, tmp_path: Path) -> None:
    folder, ended = tmp_path / "checkpoints", threading.Event()

    def rotate() -> None:
        while not ended.is_set():
            for number in range(20):
                (folder / str(number) / "shards").mkdir(parents=True)
            shutil.rmtree(folder)

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            FolderSync(here, [(folder, "s3://bucket/checkpoints")]).run()
    finally:
        ended.set()
        thread.join()
