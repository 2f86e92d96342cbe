"""Jobs that are stopped, interrupted or misbehave: they end as on AWS, and leave no process and no file."""

import os
import time
from collections.abc import Iterator

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import wait_until
from tests.localcloud.training import BUCKET, Training, leftovers

GRACE_SECONDS = 1


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """Jobs in a cloud that kills one second after SIGTERM, where AWS gives two minutes."""
    cloud = RunningCloud(tmp_path_factory.mktemp("stops"))
    cloud.command("up", "--stop-grace", str(GRACE_SECONDS))
    cloud.up()
    yield Training(cloud)
    cloud.down()


def test_a_stopped_job_may_save_what_it_has(training: Training) -> None:
    name = training.start(
        """
        import os, signal, sys, time

        def save(*_):
            open(os.path.join(os.environ["SM_MODEL_DIR"], "weights"), "w").write("partial")
            sys.exit(0)

        signal.signal(signal.SIGTERM, save)
        print("ready", flush=True)
        time.sleep(600)
        """
    )
    training.wait_for_line(name, "ready")
    training.sagemaker.stop_training_job(TrainingJobName=name)
    assert training.describe(name)["TrainingJobStatus"] == "Stopping"
    job = training.end_of(name)
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Stopped"
    assert training.artifact(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"weights": b"partial"}
    with pytest.raises(training.sagemaker.exceptions.ClientError, match="is in status Stopped"):
        training.sagemaker.stop_training_job(TrainingJobName=name)


def test_a_job_that_ignores_sigterm_is_killed_with_all_its_children(training: Training) -> None:
    name = training.start(
        """
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for session in (False, True):
            child = [sys.executable, "-c", "import time; time.sleep(600)"]
            print("child", subprocess.Popen(child, start_new_session=session).pid, flush=True)
        print("ready", os.getpid(), flush=True)
        time.sleep(600)
        """
    )
    training.wait_for_line(name, "ready")
    pids = [int(line.split()[1]) for line in training.log(name)]
    assert all(psutil.pid_exists(pid) for pid in pids)
    began = time.monotonic()
    training.sagemaker.stop_training_job(TrainingJobName=name)
    assert training.end_of(name)["TrainingJobStatus"] == "Stopped"
    assert time.monotonic() - began >= GRACE_SECONDS
    assert not any(psutil.pid_exists(pid) for pid in pids)
    wait_until(lambda: leftovers(training.cloud.home) == [])


def test_children_that_outlive_the_script_are_ended(training: Training) -> None:
    job = training.run(
        """
        import os, subprocess, sys
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print("daemon", os.getpid(), flush=True)
                os.execvp("sleep", ["sleep", "600"])
            os._exit(0)
        os.wait()
        """
    )
    name = job["TrainingJobName"]
    assert job["TrainingJobStatus"] == "Completed"
    pids = [int(line.split()[1]) for line in training.log(name) if line.startswith("daemon")]
    assert len(pids) == 1
    assert not psutil.pid_exists(pids[0])


def test_a_job_that_waits_for_a_core_can_be_stopped(training: Training) -> None:
    busy = [
        training.start("import time; print('busy', flush=True); time.sleep(600)") for _ in range(os.cpu_count() or 1)
    ]
    for name in busy:
        training.wait_for_line(name, "busy")
    waiting = training.start("print('never')")
    training.sagemaker.stop_training_job(TrainingJobName=waiting)
    assert training.end_of(waiting)["TrainingJobStatus"] == "Stopped"
    assert training.log(waiting) == []
    for name in busy:
        training.sagemaker.stop_training_job(TrainingJobName=name)
        training.end_of(name)


def test_a_job_ends_at_its_longest_runtime_and_keeps_its_model(training: Training) -> None:
    job = training.run(
        """
        import os, time
        open(os.path.join(os.environ["SM_MODEL_DIR"], "weights"), "w").close()
        time.sleep(600)
        """,
        StoppingCondition={"MaxRuntimeInSeconds": 1},
    )
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert set(training.artifact(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"weights"}


def test_an_interrupted_spot_job_goes_on_from_its_checkpoint(training: Training) -> None:
    training.cloud.command("faults", "interrupt-spot", "1")
    prefix = "checkpoints/spot"
    job = training.run(
        """
        import os, time
        from pathlib import Path
        checkpoint = Path(os.environ["SM_CHECKPOINT_DIR"], "step")
        first = int(checkpoint.read_text()) if checkpoint.exists() else 0
        print("starting at", first, flush=True)
        for step in range(first, first + 1000):
            if first:
                break
            checkpoint.write_text(str(step + 1))
            time.sleep(0.1)
        """,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/{prefix}"},
    )
    lines = training.log(job["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed", lines
    assert lines[0] == "starting at 0"
    assert int(lines[1].rsplit(" ", 1)[1]) > 0
    states = [item["Status"] for item in job["SecondaryStatusTransitions"]]
    assert states.count("Training") == 2
    assert "Interrupted" in states
    assert training.keys(prefix) == [f"{prefix}/step"]


def test_binary_output_is_kept_as_text(training: Training) -> None:
    job = training.run("import sys; sys.stdout.buffer.write(bytes(range(256)) + b'\\nthe end\\n' + b'x' * 600_000)")
    lines = training.log(job["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed"
    assert "the end" in lines
    assert "".join(lines).count("x") >= 600_000


def test_a_job_that_fills_its_model_folder_stores_it_whole(training: Training) -> None:
    size = 200 * 1024 * 1024
    job = training.run(
        f"""
        import os
        with open(os.path.join(os.environ["SM_MODEL_DIR"], "huge"), "wb") as file:
            file.truncate({size})
        """
    )
    assert job["TrainingJobStatus"] == "Completed"
    assert len(training.artifact(job["ModelArtifacts"]["S3ModelArtifacts"])["huge"]) == size
    wait_until(lambda: leftovers(training.cloud.home) == [])


def test_a_deleted_job_is_gone_but_its_log_is_not(training: Training) -> None:
    name = training.start("import time; print('hello', flush=True); time.sleep(600)")
    training.wait_for_line(name, "hello")
    with pytest.raises(training.sagemaker.exceptions.ResourceInUse):
        training.sagemaker.delete_training_job(TrainingJobName=name)
    training.sagemaker.stop_training_job(TrainingJobName=name)
    training.end_of(name)
    training.sagemaker.delete_training_job(TrainingJobName=name)
    with pytest.raises(ClientError, match="Requested resource not found"):
        training.describe(name)
    assert training.log(name) == ["hello"]
