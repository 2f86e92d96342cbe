"""Training jobs as scripts and clients see them: the container contract, metrics, artifacts, and states."""

import itertools
import json
import os
import time
from typing import Any

import pytest

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.training import BUCKET, Training, channel

REPORT = """
    import json, os, sys
    from pathlib import Path

    def files(folder):
        return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())

    config = Path(os.environ["SM_INPUT_CONFIG_DIR"])
    report = {
        "argv": sys.argv[1:],
        "environment": {name: value for name, value in os.environ.items() if name.startswith("SM_")},
        "config": {path.name: json.loads(path.read_text()) for path in config.iterdir()},
        "train": files(os.environ["SM_CHANNEL_TRAIN"]) if "SM_CHANNEL_TRAIN" in os.environ else None,
        "greeting": __import__("greeting").TEXT,
        "custom": os.environ.get("CUSTOM"),
    }
    Path(os.environ["SM_MODEL_DIR"], "report.json").write_text(json.dumps(report))
    Path(os.environ["SM_OUTPUT_DATA_DIR"], "curve.csv").write_text("1,2")
"""


@pytest.fixture(scope="module")
def training(cloud: RunningCloud) -> Training:
    return Training(cloud)


def test_a_script_gets_the_container_contract(training: Training) -> None:
    for key in ("photos/1/a.jpg", "photos/1/b.jpg", "photos/2/c.jpg", "photos-of-others/d.jpg"):
        training.put(key)
    job = training.run(
        REPORT,
        {"greeting.py": "TEXT = 'hello'"},
        HyperParameters={"lr": "0.01", "batch-size": "64", "name": '"resnet"', "flags": '{"a": 1}'},
        InputDataConfig=[channel("train", f"s3://{BUCKET}/photos/")],
        Environment={"CUSTOM": "yes"},
    )
    assert job["TrainingJobStatus"] == "Completed", training.log(job["TrainingJobName"])
    report = json.loads(training.artifact(job["ModelArtifacts"]["S3ModelArtifacts"])["report.json"])
    environment = report["environment"]

    assert report["argv"] == ["--batch-size", "64", "--flags", "a=1", "--lr", "0.01", "--name", "resnet"]
    assert report["train"] == ["1/a.jpg", "1/b.jpg", "2/c.jpg"]
    assert report["greeting"] == "hello"
    assert report["custom"] == "yes"
    assert json.loads(environment["SM_HPS"]) == {"lr": 0.01, "batch-size": 64, "name": "resnet", "flags": {"a": 1}}
    assert json.loads(environment["SM_HOSTS"]) == ["algo-1"]
    assert environment["SM_CURRENT_HOST"] == "algo-1"
    assert environment["SM_HP_BATCH_SIZE"] == "64"
    assert environment["SM_CHANNELS"] == '["train"]'
    assert int(environment["SM_NUM_CPUS"]) >= 1
    assert report["config"]["hyperparameters.json"]["lr"] == "0.01"
    assert report["config"]["inputdataconfig.json"]["train"]["TrainingInputMode"] == "File"
    assert report["config"]["resourceconfig.json"]["hosts"] == ["algo-1"]


def test_output_is_stored_beside_the_model(training: Training) -> None:
    job = training.run(REPORT, {"greeting.py": "TEXT = ''"})
    output = f"s3://{BUCKET}/output/{job['TrainingJobName']}/output/output.tar.gz"
    assert training.artifact(output) == {"curve.csv": b"1,2"}


def test_uncompressed_output_is_plain_objects(training: Training) -> None:
    config = {"S3OutputPath": f"s3://{BUCKET}/plain", "CompressionType": "NONE"}
    job = training.run(REPORT, {"greeting.py": "TEXT = ''"}, OutputDataConfig=config)
    prefix = f"plain/{job['TrainingJobName']}/output"
    assert training.keys(prefix) == [f"{prefix}/model/report.json", f"{prefix}/output/curve.csv"]
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/{prefix}/model/"


def test_metrics_are_read_from_the_log_and_the_last_value_stands(training: Training) -> None:
    job = training.run(
        """
        print("epoch 1 loss=0.9 accuracy=0.1")
        print("epoch 2 loss=4e-1 accuracy=nan")
        """,
        AlgorithmSpecification={
            "TrainingImage": "pytorch",
            "TrainingInputMode": "File",
            "MetricDefinitions": [
                {"Name": "loss", "Regex": r"loss=(\S+)"},
                {"Name": "accuracy", "Regex": r"accuracy=(\S+)"},
                {"Name": "never", "Regex": "never=(.*)"},
            ],
        },
    )
    values = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}
    assert values == {"loss": pytest.approx(0.4), "accuracy": pytest.approx(0.1)}


def test_states_follow_each_other_with_their_times(training: Training) -> None:
    job = training.run("print('done')")
    transitions = job["SecondaryStatusTransitions"]
    assert [item["Status"] for item in transitions] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    for earlier, later in itertools.pairwise(transitions):
        assert earlier["StartTime"] <= earlier["EndTime"] <= later["StartTime"] <= later["EndTime"]
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"] >= 1


def test_a_failure_file_becomes_the_reason(training: Training) -> None:
    job = training.run(
        """
        import os, sys
        from pathlib import Path
        Path(os.environ["SM_OUTPUT_DIR"], "failure").write_text("the photos are upside down")
        sys.exit(7)
        """
    )
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: the photos are upside down, exit code: 7"
    assert training.keys(f"output/{job['TrainingJobName']}") == []


def test_a_traceback_becomes_the_reason_where_there_is_no_file(training: Training) -> None:
    job = training.run("raise ValueError('no such class')")
    assert job["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:")
    assert "ValueError: no such class" in job["FailureReason"]
    assert job["FailureReason"].endswith("exit code: 1")


def test_missing_requirements_are_named_and_nothing_is_installed(training: Training) -> None:
    job = training.run("print('hello')", {"requirements.txt": "numpy\nno-such-package-at-all>=2\ntorch<1\n"})
    assert job["TrainingJobStatus"] == "Failed"
    assert "no-such-package-at-all>=2: not installed" in job["FailureReason"]
    assert "torch<1" in job["FailureReason"]
    assert "numpy" not in job["FailureReason"]
    assert any("no-such-package-at-all" in line for line in training.log(job["TrainingJobName"]))


def test_satisfied_requirements_are_fine(training: Training) -> None:
    requirements = '# ours\nnumpy>=2  # fast\nboto3; python_version >= "3"\nnope; python_version < "3"\n'
    assert training.run("print('hello')", {"requirements.txt": requirements})["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"InputDataConfig": [channel("train", f"s3://{BUCKET}/no-list.json", S3DataType="ManifestFile")]},
            "Data download failed",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "s3://no-such-bucket/x"}}, "the output cannot be stored"),
        ({"HyperParameters": {"sagemaker_program": "other.py"}}, "holds no other.py"),
        ({"HyperParameters": {"sagemaker_submit_directory": f"s3://{BUCKET}/none.tar.gz"}}, "cannot be used"),
    ],
)
def test_what_is_not_there_fails_the_job_with_a_clear_reason(
    training: Training, change: dict[str, Any], reason: str
) -> None:
    job = training.run("print('hello')", **change)
    assert job["TrainingJobStatus"] == "Failed"
    assert reason in job["FailureReason"]


def test_a_source_archive_cannot_write_outside_its_folder(training: Training) -> None:
    archive = training.upload_source("print('hello')", {"../../escaped.py": "x = 1"})
    job = training.run("", HyperParameters={"sagemaker_submit_directory": archive})
    assert job["TrainingJobStatus"] == "Failed"
    assert "cannot extract" in job["FailureReason"]


def test_a_manifest_names_the_objects_of_a_channel(training: Training) -> None:
    for name in ("a", "b", "c"):
        training.put(f"listed/{name}.txt")
    manifest = json.dumps([{"prefix": f"s3://{BUCKET}/listed/"}, "a.txt", "c.txt"]).encode()
    uri = training.put("manifests/two.json", manifest)
    config = [channel("train", uri, S3DataType="ManifestFile")]
    job = training.run(REPORT, {"greeting.py": "TEXT = ''"}, InputDataConfig=config)
    report = json.loads(training.artifact(job["ModelArtifacts"]["S3ModelArtifacts"])["report.json"])
    assert report["train"] == ["a.txt", "c.txt"]


def test_a_container_entrypoint_runs_with_its_paths_relocated(training: Training) -> None:
    training.put("entry/code/run.py", b"import sys; print('arguments', sys.argv[1:])")
    job = training.run(
        "",
        AlgorithmSpecification={
            "TrainingImage": "pytorch",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/run.py"],
            "ContainerArguments": ["--fast"],
        },
        InputDataConfig=[channel("code", f"s3://{BUCKET}/entry/code/")],
    )
    assert job["TrainingJobStatus"] == "Completed"
    assert "arguments ['--fast']" in training.log(job["TrainingJobName"])


def test_two_hosts_share_the_data_and_meet(training: Training) -> None:
    for number in range(4):
        training.put(f"sharded/{number}.txt")
    job = training.run(
        """
        import json, os, socket, sys
        hosts, me = json.loads(os.environ["SM_HOSTS"]), os.environ["SM_CURRENT_HOST"]
        rank, data = hosts.index(me), sorted(os.listdir(os.environ["SM_CHANNEL_TRAIN"]))
        print("rank", rank, "has", data, flush=True)
        address = (hosts[0], 29511)
        if rank == 0:
            with socket.create_server(address) as server:
                connection, _ = server.accept()
                print("heard", connection.recv(100).decode())
        else:
            while True:
                try:
                    socket.create_connection(address).sendall(b"from the other host")
                    break
                except ConnectionRefusedError:
                    continue
        open(os.path.join(os.environ["SM_MODEL_DIR"], f"rank-{rank}"), "w").close()
        """,
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
        InputDataConfig=[channel("train", f"s3://{BUCKET}/sharded/", S3DataDistributionType="ShardedByS3Key")],
    )
    name = job["TrainingJobName"]
    assert job["TrainingJobStatus"] == "Completed", training.log(name)
    assert training.log(name, host=1) == ["rank 0 has ['0.txt', '2.txt']", "heard from the other host"]
    assert training.log(name, host=2) == ["rank 1 has ['1.txt', '3.txt']"]
    assert set(training.artifact(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"rank-0", "rank-1"}


def test_one_host_that_fails_ends_the_other(training: Training) -> None:
    job = training.run(
        """
        import json, os, sys, time
        if os.environ["SM_CURRENT_HOST"] == json.loads(os.environ["SM_HOSTS"])[1]:
            sys.exit(5)
        time.sleep(600)
        """,
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
    )
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].endswith("exit code: 5")


def test_debugger_tensors_go_where_the_hook_is_told(training: Training) -> None:
    job = training.run(
        """
        import json, os
        from pathlib import Path
        config = json.loads(Path(os.environ["SMDEBUG_CONFIG_FILE_PATH"]).read_text())
        folder = Path(config["LocalPath"], "events")
        folder.mkdir(parents=True)
        (folder / "loss.tfevents").write_text("tensor")
        """,
        DebugHookConfig={"S3OutputPath": f"s3://{BUCKET}/debug", "LocalPath": "/opt/ml/output/tensors"},
        DebugRuleConfigurations=[{"RuleConfigurationName": "Overfit", "RuleEvaluatorImage": "rules"}],
    )
    key = f"debug/{job['TrainingJobName']}/debug-output/events/loss.tfevents"
    assert training.keys("debug/") == [key]
    assert [rule["RuleEvaluationStatus"] for rule in job["DebugRuleEvaluationStatuses"]] == ["Error"]


def test_tensors_that_cannot_be_stored_fail_the_job_and_keep_no_others(training: Training) -> None:
    job = training.run(
        """
        import json, os
        from pathlib import Path
        config = json.loads(Path(os.environ["SMDEBUG_CONFIG_FILE_PATH"]).read_text())
        for folder in (Path(config["LocalPath"]), Path(os.environ["SM_OUTPUT_DIR"], "tensorboard")):
            folder.mkdir(parents=True)
            (folder / "events").write_text("tensor")
        """,
        DebugHookConfig={"S3OutputPath": "s3://no-such-bucket/debug"},
        TensorBoardOutputConfig={"S3OutputPath": f"s3://{BUCKET}/boards"},
    )
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: checkpoints or tensors cannot be stored: cannot write s3://no")
    assert job["FailureReason"] in training.log(job["TrainingJobName"])
    name = job["TrainingJobName"]
    assert training.keys("boards/") == [f"boards/{name}/tensorboard-output/events"]


def test_a_script_that_removes_its_model_folder_has_an_empty_model(training: Training) -> None:
    job = training.run("import os, shutil; shutil.rmtree(os.environ['SM_MODEL_DIR'])")
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    assert training.artifact(job["ModelArtifacts"]["S3ModelArtifacts"]) == {}


def test_more_jobs_than_cores_wait_as_starting(training: Training) -> None:
    names = [training.start("import time; time.sleep(1)") for _ in range((os.cpu_count() or 1) + 1)]
    time.sleep(0.5)
    states = [training.describe(name)["SecondaryStatus"] for name in names]
    assert states.count("Starting") == 1
    assert all(training.end_of(name)["TrainingJobStatus"] == "Completed" for name in names)
