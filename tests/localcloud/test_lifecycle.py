"""Up, down, reset and crashes: one cloud per home, everything found again, nothing left behind."""

import contextlib
import gzip
import io
import json
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.localcloud.conftest import ROOT, RunningCloud
from tests.localcloud.hosting import unique, wait_until
from tests.localcloud.training import Training, leftovers


def run(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "localcloud", *arguments, "--home", str(home)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def status(home: Path) -> dict[str, int]:
    return dict(json.loads(run(home, "status", "--format", "json").stdout))


def kill_service(cloud: RunningCloud, training: Training) -> None:
    """Kill the service; connections that were open are lost, new ones wait until it has started again."""
    os.kill(status(cloud.home)["service"], signal.SIGKILL)
    with contextlib.suppress(ConnectionClosedError):
        training.sagemaker.list_models()
    training.sagemaker.list_models()


def test_a_cloud_that_starts_in_the_environment_of_another_uses_its_own_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # as after `eval "$(python -m localcloud env)"`
    cloud = RunningCloud(tmp_path / "cloud")
    cloud.up()
    try:
        (tmp_path / "1.jpg").write_bytes(b"photo")
        cloud.command("load-bucket", "bins", str(tmp_path / "1.jpg"))
        assert cloud.client("s3").get_object(Bucket="bins", Key="1.jpg")["Body"].read() == b"photo"
    finally:
        cloud.down()


def test_two_ups_at_once_share_one_cloud(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "localcloud", "up", "--home", str(tmp_path / "cloud")]
    ups = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [up.communicate()[0] for up in ups]
    assert [up.returncode for up in ups] == [0, 0]
    assert outputs[0] == outputs[1]
    assert run(tmp_path / "cloud", "down").stdout == "down\n"


def test_state_and_addresses_survive_down_and_up(own_cloud: RunningCloud) -> None:
    training = Training(own_cloud)
    job = training.run("print('hello')")
    variables = own_cloud.variables
    own_cloud.down()
    assert run(own_cloud.home, "status").returncode == 3
    own_cloud.up()
    assert own_cloud.variables == variables
    again = training.describe(job["TrainingJobName"])
    assert {**again, "ResponseMetadata": None} == {**job, "ResponseMetadata": None}
    assert training.log(job["TrainingJobName"]) == ["hello"]


def test_a_job_that_down_ends_is_failed_with_the_reason(own_cloud: RunningCloud) -> None:
    training = Training(own_cloud)
    name = training.start("import time; print('ready', flush=True); time.sleep(600)")
    training.wait_for_line(name, "ready")
    own_cloud.down()
    own_cloud.up()
    job = training.end_of(name)
    assert job["TrainingJobStatus"] == "Failed"
    assert "localcloud down" in job["FailureReason"]
    wait_until(lambda: leftovers(own_cloud.home) == [])


def test_a_running_job_outlives_the_service(own_cloud: RunningCloud) -> None:
    training = Training(own_cloud)
    name = training.start(
        """
        import os, time
        print("ready", os.getpid(), flush=True)
        while not os.path.exists(os.environ["SM_OUTPUT_DIR"] + "/go"):
            time.sleep(0.05)
        print("went on", os.getpid())
        """
    )
    training.wait_for_line(name, "ready")
    kill_service(own_cloud, training)
    assert training.describe(name)["SecondaryStatus"] == "Training"
    (go,) = (own_cloud.home / "jobs" / "training-job" / name).glob("algo-1/ml/output")
    (go / "go").touch()
    assert training.end_of(name)["TrainingJobStatus"] == "Completed"
    lines = training.log(name)
    assert [line.rsplit(" ", 1)[0] for line in lines] == ["ready", "went on"]
    assert len({line.rsplit(" ", 1)[1] for line in lines}) == 1


def test_no_job_is_lost_or_run_twice_whenever_the_service_is_killed(own_cloud: RunningCloud) -> None:
    training = Training(own_cloud)
    script = """
        import os, time
        print("begin", flush=True)
        time.sleep(0.3)
        open(os.path.join(os.environ["SM_MODEL_DIR"], "weights"), "w").close()
    """
    names = []
    chance = random.Random(5)
    for _ in range(4):
        names += [training.start(script) for _ in range(2)]
        time.sleep(chance.uniform(0, 0.5))
        kill_service(own_cloud, training)
    for name in names:
        job = training.end_of(name)
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
        assert set(training.artifact(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"weights"}
        assert training.log(name) == ["begin"]
    wait_until(lambda: leftovers(own_cloud.home) == [])
    supervisor = psutil.Process(status(own_cloud.home)["supervisor"])
    wait_until(lambda: len(supervisor.children(recursive=True)) == 2)  # rclone and the service, no zombie


def test_a_killed_s3_server_comes_back_at_its_address(own_cloud: RunningCloud) -> None:
    training = Training(own_cloud)
    training.put("kept", b"content")
    os.kill(status(own_cloud.home)["rclone"], signal.SIGKILL)

    def content() -> bytes | None:
        with contextlib.suppress(Exception):
            return bytes(training.s3.get_object(Bucket="training", Key="kept")["Body"].read())
        return None

    assert wait_until(content) == b"content"


def test_nothing_outlives_a_killed_supervisor(own_cloud: RunningCloud) -> None:
    training = Training(own_cloud)
    name = training.start("import time; print('ready', flush=True); time.sleep(600)")
    training.wait_for_line(name, "ready")
    os.kill(status(own_cloud.home)["supervisor"], signal.SIGKILL)
    wait_until(lambda: own_cloud.processes() == [])
    own_cloud.up()
    assert training.end_of(name)["TrainingJobStatus"] == "Failed"


def test_keys_are_private_and_on_no_command_line(cloud: RunningCloud) -> None:
    key_file = cloud.home / "keys.json"
    secret = json.loads(key_file.read_text())["secret_access_key"]
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert not any(secret in " ".join(command) for command in cloud.processes())
    for log in cloud.home.glob("*.log"):
        assert secret not in log.read_text()


def test_it_listens_on_loopback_only(cloud: RunningCloud) -> None:
    supervisor = psutil.Process(status(cloud.home)["supervisor"])
    family = [supervisor, *supervisor.children(recursive=True)]
    listening = [
        connection.laddr.ip
        for process in family
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_reset_empties_the_home_and_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "cloud"
    assert run(home, "up").returncode == 0
    assert run(home, "reset").returncode == 0
    assert not home.exists()
    strange = tmp_path / "precious"
    strange.mkdir()
    (strange / "thesis.txt").write_text("years of work")
    refused = run(strange, "reset")
    assert refused.returncode == 1
    assert "does not look like" in refused.stderr
    assert (strange / "thesis.txt").exists()


def test_another_region_is_refused_while_it_runs(cloud: RunningCloud) -> None:
    refused = run(cloud.home, "up", "--region", "eu-west-1")
    assert refused.returncode == 1
    assert "runs as region us-east-1" in refused.stderr


def test_commands_say_when_nothing_runs(tmp_path: Path) -> None:
    for arguments in (["env"], ["load-bucket", "b", str(tmp_path)], ["faults", "list"]):
        refused = run(tmp_path / "cloud", *arguments)
        assert refused.returncode == 1
        assert "does not run" in refused.stderr
    assert run(tmp_path / "cloud", "down").stdout == "nothing was running\n"


def test_load_bucket_takes_folders_files_and_archives(cloud: RunningCloud, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "ü").mkdir(parents=True)
    (folder / "ü" / "a b.jpg").write_bytes(b"one")
    archive = tmp_path / "more.tar"
    subprocess.run(["tar", "-cf", str(archive), "-C", str(folder), "."], check=True)
    single = tmp_path / "list.json"
    single.write_text("[]")
    bucket = unique("loaded")
    said = cloud.command("load-bucket", bucket, str(folder), str(archive), str(single))
    assert said == f"3 objects put into s3://{bucket}\n"
    listed = cloud.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == ["list.json", "ü/a b.jpg"]
    missing = run(cloud.home, "load-bucket", bucket, str(tmp_path / "none"))
    assert missing.returncode == 1
    assert "there is no" in missing.stderr


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def test_a_damaged_archive_is_refused_not_loaded_in_part(cloud: RunningCloud, tmp_path: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for number in range(10):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = 512
            archive.addfile(member, io.BytesIO(random.Random(number).randbytes(512)))
    whole, packed = plain.getvalue(), gzip.compress(plain.getvalue())
    damaged = {
        "header.tar": flipped(whole, 3 * 1024 + 5),
        "end.tar": whole[: 7 * 1024],
        "cut.tar": whole[: 7 * 1024 + 700],
        "begin.tar": flipped(whole, 5),
        "middle.tar.gz": flipped(packed, len(packed) // 2),
        "checksum.tar.gz": flipped(packed, len(packed) - 6),
        "cut.tar.gz": packed[: len(packed) // 2],
    }
    bucket = unique("damaged")
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        refused = run(cloud.home, "load-bucket", bucket, str(tmp_path / name))
        assert refused.returncode == 1, name
        assert refused.stderr.startswith(f"localcloud: cannot read {tmp_path / name} to its end, so nothing was loaded")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        cloud.client("s3").list_objects_v2(Bucket=bucket)
    (tmp_path / "whole.tar.gz").write_bytes(packed)
    assert cloud.command("load-bucket", bucket, str(tmp_path / "whole.tar.gz")).startswith("10 objects")


def test_load_bucket_says_what_it_refuses(cloud: RunningCloud, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    refused = run(cloud.home, "load-bucket", "Bad_Name", str(tmp_path / "list.json"))
    assert refused.returncode == 1
    assert refused.stderr.startswith("localcloud: cannot create bucket Bad_Name")
    for name in ("../1.jpg", "a//1.jpg"):
        with tarfile.open(tmp_path / "odd.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        refused = run(cloud.home, "load-bucket", unique("odd"), str(tmp_path / "odd.tar"))
        assert refused.returncode == 1
        assert refused.stderr.startswith("localcloud: stopped at a name that is no key")
        assert name in refused.stderr


FAULTS = {
    "throttle": ("ThrottlingException", 400),
    "fail": ("InternalFailure", 500),
    "conflict": ("ConflictException", 400),
    "unseen": ("ValidationException", 400),
}


@pytest.mark.parametrize(
    "fault",
    [
        ["throttle", "2"],
        ["fail", "1", "--operation", "ListModels"],
        ["conflict", "1", "--operation", "ListModels"],
        ["unseen", "2", "--operation", "ListModels"],
    ],
)
def test_faults_strike_as_often_as_asked_and_then_end(cloud: RunningCloud, fault: list[str]) -> None:
    client = cloud.client("sagemaker")
    cloud.command("faults", *fault)
    code, http = FAULTS[fault[0]]
    for _ in range(int(fault[1])):
        with pytest.raises(client.exceptions.ClientError) as caught:
            client.list_models()
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == http
    client.list_models()


def test_s3_refuses_the_share_of_requests_that_was_asked_for(own_cloud: RunningCloud) -> None:
    Training(own_cloud).put("small", b"x" * 1000)
    own_cloud.command("faults", "s3-fail", "20")
    refused = 0
    client = own_cloud.client("s3", s3={"addressing_style": "path"})
    for number in range(100):
        try:
            client.put_object(Bucket="training", Key=f"small-{number}", Body=b"x" * 1000)
        except client.exceptions.ClientError as error:
            refused += error.response["Error"]["Code"] == "SlowDown"
    assert 5 <= refused <= 40
    own_cloud.command("faults", "clear")
    kept = own_cloud.client("s3").list_objects_v2(Bucket="training", Prefix="small-")
    assert kept["KeyCount"] == 100 - refused


def test_slow_and_cut_s3_answers_until_cleared(own_cloud: RunningCloud) -> None:
    training = Training(own_cloud)
    training.put("whole", b"x" * 100_000)
    own_cloud.command("faults", "s3-latency", "300")
    own_cloud.command("faults", "s3-cut", "1")

    def fetch() -> bytes:
        # A client of its own, because connections from before the change are lost.
        return bytes(own_cloud.client("s3").get_object(Bucket="training", Key="whole")["Body"].read())

    began = time.monotonic()
    with pytest.raises(Exception, match="IncompleteRead"):
        fetch()
    assert time.monotonic() - began > 0.3
    assert fetch() == b"x" * 100_000
    own_cloud.command("faults", "clear")
    assert fetch() == b"x" * 100_000


def test_a_journal_has_every_valid_request_and_s3s_too(own_cloud: RunningCloud) -> None:
    journal = own_cloud.home / "journal.jsonl"
    own_cloud.client("sagemaker").list_models()
    assert not journal.exists()

    own_cloud.down()
    own_cloud.command("up", "--journal")
    own_cloud.up()
    own_cloud.client("sagemaker").list_models(NameContains="binventory")
    with pytest.raises(ClientError, match="maxResults"):
        own_cloud.client("sagemaker").list_models(MaxResults=1000)
    Training(own_cloud).put("folder/whole", b"x" * 100_000)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[0] == {"service": "sagemaker", "operation": "ListModels", "parameters": {"NameContains": "binventory"}}
    assert [line["service"] for line in lines].count("sagemaker") == 1
    put = lines[-1]
    assert (put["service"], put["method"], put["path"]) == ("s3", "PUT", "/training/folder/whole")
    assert put["agent"].startswith("Boto3")
