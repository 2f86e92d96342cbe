"""The work of one transform job, in this process."""

import os
from pathlib import Path

import psutil

from localcloud import logs, resources
from localcloud.host.processes import ProcessSpec
from localcloud.operations import Cloud
from localcloud.resources import TRANSFORM_JOB
from localcloud.transform.run import job_folder, run_transform
from tests.localcloud.hosting import wait_until


def test_a_model_server_that_a_killed_service_left_is_ended_while_its_job_waits(here: Cloud, tmp_path: Path) -> None:
    request = {"TransformJobName": "job", "TransformResources": {"InstanceCount": 1}}
    resources.create(here, TRANSFORM_JOB, request, TransformJobStatus="Stopping")
    folder = job_folder(here, "job") / "instance-0"
    here.processes.start(folder, ProcessSpec(["/bin/sh", "-c", "echo $$; sleep 600"], dict(os.environ), tmp_path))
    (said,) = wait_until(lambda: list(logs.read(folder / "log.jsonl")))
    with here.cores.hold(here.cores.total, lambda: False):
        run_transform(here, "job")
    assert not psutil.pid_exists(int(said.message))
    assert resources.describe(here, TRANSFORM_JOB, "job")["TransformJobStatus"] == "Stopped"
