"""Whose features a run takes for those that it needs."""

from pathlib import Path

import pytest

from tasks.features import finished_archive
from tests.localcloud.conftest import RunningCloud
from tests.localcloud.training import BUCKET, Training

UNTIL_STOPPED = """
    import time
    print("ready", flush=True)
    time.sleep(600)
"""


def test_what_a_stopped_job_left_is_not_taken_for_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = RunningCloud(tmp_path / "cloud")
    cloud.up()
    for name, value in cloud.variables.items():
        monkeypatch.setenv(name, value)
    jobs, prefix = Training(cloud), f"s3://{BUCKET}/features/0a1b2c3d"
    place = {"S3OutputPath": prefix}
    assert finished_archive(prefix) is None

    stopped = jobs.start(UNTIL_STOPPED, OutputDataConfig=place)
    jobs.wait_for_line(stopped, "ready")
    jobs.sagemaker.stop_training_job(TrainingJobName=stopped)
    assert jobs.end_of(stopped)["TrainingJobStatus"] == "Stopped"
    jobs.put("features/0a1b2c3d/b261128-120000-features-of-another-account/output/model.tar.gz")
    assert len([key for key in jobs.keys("features/") if key.endswith("model.tar.gz")]) == 2
    assert finished_archive(prefix) is None

    done = jobs.run("print('done')", OutputDataConfig=place)
    assert finished_archive(prefix) == done["ModelArtifacts"]["S3ModelArtifacts"]
    cloud.down()
