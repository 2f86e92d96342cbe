"""Transform jobs, driven through boto3 as a user would."""

import gzip
import json
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import ECHO, Hosting, wait_until

COUNT = """
    import json, os, pathlib

    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        lines = body.splitlines()
        if any("bad" in line for line in lines):
            raise ValueError("a bad record")
        return "\\n".join(f"{len(lines)}:{line.upper()}" for line in lines), "text/csv"
"""


def outputs(hosting: Hosting, job: str) -> dict[str, bytes]:
    return hosting.read(f"{job}/")


def test_every_object_under_a_prefix_gets_an_output_in_its_place(hosting: Hosting) -> None:
    for number in range(20):
        hosting.put(f"in/{number // 10}/photo {number:02}.jpg", b"p" * number)
    source = {"S3Uri": f"s3://{hosting.bucket}/in/", "ContentType": "image/jpeg"}
    job = hosting.transform(hosting.model(), source, MaxConcurrentTransforms=4, output={"Accept": "application/json"})
    described = hosting.finish(job)
    assert described["TransformJobStatus"] == "Completed", described.get("FailureReason")
    assert described["CreationTime"] <= described["TransformStartTime"] <= described["TransformEndTime"]
    assert described["TransformInput"]["SplitType"] == "None"
    found = outputs(hosting, job)
    assert sorted(found) == [f"{number // 10}/photo {number:02}.jpg.out" for number in range(20)]
    assert json.loads(found["1/photo 13.jpg.out"]) == {
        "bytes": 13,
        "type": "image/jpeg",
        "accept": "application/json",
    }


def test_a_manifest_names_the_objects(hosting: Hosting) -> None:
    for name in ("a.jpg", "b/c.jpg", "left-out.jpg"):
        hosting.put(f"photos/{name}", b"xy")
    prefix = {"prefix": f"s3://{hosting.bucket}/photos/"}
    manifest = hosting.put("manifest.json", json.dumps([prefix, "a.jpg", "b/c.jpg"]).encode())
    job = hosting.transform(hosting.model(), {"S3DataType": "ManifestFile", "S3Uri": manifest})
    assert hosting.finish(job)["TransformJobStatus"] == "Completed"
    assert sorted(outputs(hosting, job)) == ["a.jpg.out", "b/c.jpg.out"]


@pytest.mark.parametrize("content", [b"not json", b"[]", b'["a.jpg"]', b'[{"prefix": "s3://x/"}, 5]'])
def test_a_broken_manifest_fails_the_job_and_is_named(hosting: Hosting, content: bytes) -> None:
    manifest = hosting.put("manifest.json", content)
    described = hosting.finish(hosting.transform(hosting.model(), {"S3DataType": "ManifestFile", "S3Uri": manifest}))
    assert described["TransformJobStatus"] == "Failed"
    assert manifest in described["FailureReason"]


def test_an_empty_prefix_fails_the_job(hosting: Hosting) -> None:
    described = hosting.finish(hosting.transform(hosting.model(), {"S3Uri": f"s3://{hosting.bucket}/nothing/"}))
    assert described["TransformJobStatus"] == "Failed"
    assert "No S3 objects found" in described["FailureReason"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("SingleRecord", b"1:A\n1:B\n1:C\n"), ("MultiRecord", b"3:A\n3:B\n3:C\n")],
)
def test_lines_are_sent_one_by_one_or_together_and_answered_in_order(
    hosting: Hosting, strategy: str, expected: bytes
) -> None:
    source = {"S3Uri": hosting.put("in/rows.csv", b"a\nb\nc\n"), "ContentType": "text/csv", "SplitType": "Line"}
    job = hosting.transform(
        hosting.model(COUNT),
        source,
        BatchStrategy=strategy,
        MaxConcurrentTransforms=3,
        output={"Accept": "text/csv", "AssembleWith": "Line"},
    )
    assert hosting.finish(job)["TransformJobStatus"] == "Completed"
    assert outputs(hosting, job) == {"rows.csv.out": expected}


def test_many_lines_in_flight_keep_their_order(hosting: Hosting) -> None:
    rows = [f"row{number}" for number in range(300)]
    uri = hosting.put("in/rows.csv", "\n".join(rows).encode())
    job = hosting.transform(
        hosting.model(COUNT),
        {"S3Uri": uri, "ContentType": "text/csv", "SplitType": "Line"},
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=8,
        output={"AssembleWith": "Line"},
    )
    assert hosting.finish(job)["TransformJobStatus"] == "Completed"
    assert outputs(hosting, job)["rows.csv.out"].decode().split() == [f"1:{row.upper()}" for row in rows]


def test_a_large_object_is_sent_in_payloads_below_the_limit(hosting: Hosting) -> None:
    line = b"x" * 1023 + b"\n"
    uri = hosting.put("in/large.csv", line * 5 * 1024)
    source = {"S3Uri": uri, "ContentType": "text/csv", "SplitType": "Line"}
    job = hosting.transform(hosting.model(), source, MaxPayloadInMB=1, output={"AssembleWith": "Line"})
    assert hosting.finish(job)["TransformJobStatus"] == "Completed"
    answers = [json.loads(answer) for answer in outputs(hosting, job)["large.csv.out"].splitlines()]
    assert [answer["bytes"] for answer in answers] == [1024 * 1024] * 5


def test_one_bad_object_fails_the_job_but_the_others_are_kept(hosting: Hosting, cloud: RunningCloud) -> None:
    for name, body in (("a.jpg", b"good"), ("b.jpg", b"bad"), ("c.jpg", b"good too")):
        hosting.put(f"in/{name}", body)
    source = {"S3Uri": f"s3://{hosting.bucket}/in/", "ContentType": "image/jpeg"}
    job = hosting.transform(hosting.model(), source, ModelClientConfig={"InvocationsMaxRetries": 0})
    described = hosting.finish(job)
    assert described["TransformJobStatus"] == "Failed"
    assert f"s3://{hosting.bucket}/in/b.jpg" in described["FailureReason"]
    assert "cannot read this one" in described["FailureReason"]
    assert described["FailureReason"].startswith("AlgorithmError: See job logs for more information.")
    assert sorted(outputs(hosting, job)) == ["a.jpg.out", "c.jpg.out"]


def test_a_bad_record_leaves_its_whole_object_without_an_output(hosting: Hosting) -> None:
    hosting.put("in/1.csv", b"a\nbad\nc\n")
    hosting.put("in/2.csv", b"d\n")
    job = hosting.transform(
        hosting.model(COUNT),
        {"S3Uri": f"s3://{hosting.bucket}/in/", "ContentType": "text/csv", "SplitType": "Line"},
        BatchStrategy="SingleRecord",
        ModelClientConfig={"InvocationsMaxRetries": 0},
    )
    assert hosting.finish(job)["TransformJobStatus"] == "Failed"
    assert sorted(outputs(hosting, job)) == ["2.csv.out"]


def test_an_object_beyond_max_payload_fails_and_the_others_are_kept(hosting: Hosting) -> None:
    hosting.put("in/large.bin", b"x" * (1024 * 1024 + 1))
    hosting.put("in/small.bin", b"x" * 1024 * 1024)
    job = hosting.transform(hosting.model(), {"S3Uri": f"s3://{hosting.bucket}/in/"}, MaxPayloadInMB=1)
    described = hosting.finish(job)
    assert described["TransformJobStatus"] == "Failed"
    assert "in/large.bin: Too much data for max payload size" in described["FailureReason"]
    assert sorted(outputs(hosting, job)) == ["small.bin.out"]


def test_passing_errors_are_retried_as_often_as_allowed(hosting: Hosting) -> None:
    flaky = hosting.model("""
        import pathlib

        def model_fn(model_dir):
            return pathlib.Path(model_dir) / "calls"

        def transform_fn(model, body, content_type, accept):
            calls = len(model.read_text()) if model.exists() else 0
            model.write_text("x" * (calls + 1))
            if calls < 2:
                raise RuntimeError("not yet")
            return str(calls)
    """)
    uri = hosting.put("in/one", b"x")
    patient = hosting.transform(flaky, {"S3Uri": uri}, ModelClientConfig={"InvocationsMaxRetries": 2})
    assert hosting.finish(patient)["TransformJobStatus"] == "Completed"
    assert outputs(hosting, patient) == {"one.out": b"2"}
    hasty = hosting.transform(flaky, {"S3Uri": uri}, ModelClientConfig={"InvocationsMaxRetries": 1})
    assert "Bad HTTP status received from algorithm: 500" in hosting.finish(hasty)["FailureReason"]


def test_a_model_that_does_not_answer_in_time_fails_the_object(hosting: Hosting) -> None:
    sleeper = hosting.model("""
        import time

        def model_fn(model_dir):
            return None

        def transform_fn(model, body, content_type, accept):
            time.sleep(3600)
    """)
    client = {"InvocationsTimeoutInSeconds": 1, "InvocationsMaxRetries": 0}
    job = hosting.transform(sleeper, {"S3Uri": hosting.put("in/one", b"x")}, ModelClientConfig=client)
    assert "failed to respond in time" in hosting.finish(job)["FailureReason"]


def test_a_model_that_dies_fails_the_job(hosting: Hosting) -> None:
    fatal = hosting.model("""
        import os

        def model_fn(model_dir):
            return None

        def transform_fn(model, body, content_type, accept):
            os._exit(9)
    """)
    for number in range(30):
        hosting.put(f"in/{number}", b"x")
    described = hosting.finish(hosting.transform(fatal, {"S3Uri": f"s3://{hosting.bucket}/in/"}))
    assert described["TransformJobStatus"] == "Failed"
    assert "Unable to get response from algorithm" in described["FailureReason"]


def test_a_model_that_cannot_start_fails_the_job_with_the_reason(hosting: Hosting) -> None:
    broken = hosting.model("raise RuntimeError('the weights are missing')")
    described = hosting.finish(hosting.transform(broken, {"S3Uri": hosting.put("in/one", b"x")}))
    assert described["TransformJobStatus"] == "Failed"
    assert "the weights are missing" in described["FailureReason"]


def test_a_stopped_job_stores_nothing_and_leaves_no_process(hosting: Hosting, cloud: RunningCloud) -> None:
    waiting = hosting.model("""
        import pathlib, time

        def model_fn(model_dir):
            return pathlib.Path(model_dir)

        def transform_fn(model, body, content_type, accept):
            if body == b"quick":
                return "done"
            (model / "begun").touch()
            time.sleep(3600)
    """)
    hosting.put("in/1", b"quick")
    hosting.put("in/2", b"slow")
    job = hosting.transform(waiting, {"S3Uri": f"s3://{hosting.bucket}/in/"})
    wait_until((cloud.home / "transform-jobs" / job / "instance-0" / "model" / "begun").exists)
    hosting.sagemaker.stop_transform_job(TransformJobName=job)
    described = hosting.finish(job)
    assert described["TransformJobStatus"] == "Stopped"
    assert "TransformEndTime" in described
    assert outputs(hosting, job) == {}
    assert not [about for about in cloud.processes() if job in about[-1]]
    hosting.sagemaker.stop_transform_job(TransformJobName=job)
    assert hosting.finish(job)["TransformJobStatus"] == "Stopped"


def test_the_container_sees_awss_variables(hosting: Hosting) -> None:
    model = hosting.model(
        """
        import json, os

        def model_fn(model_dir):
            return None

        def transform_fn(model, body, content_type, accept):
            names = ("SAGEMAKER_BATCH", "SAGEMAKER_MAX_PAYLOAD_IN_MB", "SAGEMAKER_BATCH_STRATEGY",
                     "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "FROM_MODEL", "FROM_JOB")
            return json.dumps([os.environ.get(name) for name in names])
        """,
        environment={"FROM_MODEL": "m", "FROM_JOB": "overridden"},
    )
    job = hosting.transform(
        model,
        {"S3Uri": hosting.put("in/one", b"x")},
        MaxPayloadInMB=7,
        MaxConcurrentTransforms=2,
        Environment={"FROM_JOB": "j"},
    )
    assert hosting.finish(job)["TransformJobStatus"] == "Completed"
    assert json.loads(outputs(hosting, job)["one.out"]) == ["true", "7", None, "2", "m", "j"]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="an instance takes a core")
def test_several_instances_share_the_objects(hosting: Hosting) -> None:
    """Both instances must be at work for either to answer: they meet in a file between them."""
    model = hosting.model("""
        import os, pathlib, time

        def model_fn(model_dir):
            return pathlib.Path.cwd()

        def transform_fn(model, body, content_type, accept):
            (model / "here").touch()
            while len(list(model.parent.glob("instance-*/here"))) < 2:
                time.sleep(0.01)
            return model.name
    """)
    hosting.put("in/1", b"x")
    hosting.put("in/2", b"x")
    job = hosting.transform(model, {"S3Uri": f"s3://{hosting.bucket}/in/"}, instances=2)
    assert hosting.finish(job)["TransformJobStatus"] == "Completed"
    assert set(outputs(hosting, job).values()) == {b"instance-0", b"instance-1"}


def test_compressed_objects_are_unpacked(hosting: Hosting) -> None:
    hosting.put("in/a.gz", gzip.compress(b"x" * 50))
    hosting.put("in/b.gz", b"not compressed")
    job = hosting.transform(hosting.model(), {"S3Uri": f"s3://{hosting.bucket}/in/", "CompressionType": "Gzip"})
    described = hosting.finish(job)
    assert described["TransformJobStatus"] == "Failed"
    assert "in/b.gz" in described["FailureReason"]
    assert json.loads(outputs(hosting, job)["a.gz.out"])["bytes"] == 50


def test_results_are_joined_with_their_records(hosting: Hosting) -> None:
    source = {"S3Uri": hosting.put("in/rows.csv", b"id1,a\nid2,b\n"), "ContentType": "text/csv", "SplitType": "Line"}
    job = hosting.transform(
        hosting.model(COUNT),
        source,
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,2]"},
        output={"Accept": "text/csv", "AssembleWith": "Line"},
    )
    described = hosting.finish(job)
    assert described["TransformJobStatus"] == "Completed", described.get("FailureReason")
    assert outputs(hosting, job) == {"rows.csv.out": b"id1,2:A\nid2,2:B\n"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MaxPayloadInMB": 101}, "MaxPayloadInMB"),
        ({"MaxPayloadInMB": 50, "MaxConcurrentTransforms": 3}, "MaxConcurrentTransforms"),
        ({"DataProcessing": {"InputFilter": "$..a"}}, "InputFilter"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "ContentType and Accept"),
        ({"source": {"SplitType": "RecordIO"}}, "RecordIO"),
        ({"source": {"S3DataType": "AugmentedManifestFile"}}, "AugmentedManifestFile"),
        ({"model": "no-such-model"}, "Could not find model"),
    ],
)
def test_what_aws_or_localcloud_cannot_do_is_refused_at_once(
    hosting: Hosting, change: dict[str, Any], message: str
) -> None:
    more = dict(change)
    source = {"S3Uri": f"s3://{hosting.bucket}/in/", **more.pop("source", {})}
    model = more.pop("model", None) or hosting.model()
    with pytest.raises(ClientError, match=message) as refused:
        hosting.transform(model, source, **more)
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_a_jobs_name_is_unique(hosting: Hosting) -> None:
    model, uri = hosting.model(), hosting.put("in/one", b"x")
    job = hosting.transform(model, {"S3Uri": uri})
    hosting.finish(job)
    described = hosting.sagemaker.describe_transform_job(TransformJobName=job)
    again = {key: described[key] for key in ("TransformInput", "TransformOutput", "TransformResources")}
    with pytest.raises(ClientError) as taken:
        hosting.sagemaker.create_transform_job(TransformJobName=job, ModelName=model, **again)
    assert taken.value.response["Error"]["Code"] == "ResourceInUse"


def test_jobs_are_listed_by_status(hosting: Hosting) -> None:
    job = hosting.transform(hosting.model(), {"S3Uri": hosting.put("in/one", b"x")})
    hosting.finish(job)
    found = hosting.sagemaker.list_transform_jobs(StatusEquals="Completed", NameContains=job)["TransformJobSummaries"]
    assert [(item["TransformJobName"], item["TransformJobStatus"]) for item in found] == [(job, "Completed")]
    assert not hosting.sagemaker.list_transform_jobs(StatusEquals="Failed", NameContains=job)["TransformJobSummaries"]


def test_the_logs_of_a_job_can_be_read(hosting: Hosting, cloud: RunningCloud) -> None:
    model = hosting.model(ECHO + "\n    print('the model says hello')\n")
    hosting.put("in/a", b"bad")
    source = {"S3Uri": f"s3://{hosting.bucket}/in/", "ContentType": "image/jpeg"}
    job = hosting.transform(model, source, ModelClientConfig={"InvocationsMaxRetries": 0})
    hosting.finish(job)
    logs = cloud.client("logs")
    group = "/aws/sagemaker/TransformJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]
    texts = {}
    for stream in streams:
        name = stream["logStreamName"]
        events = logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True)["events"]
        texts[name.rpartition("/")[2] == "data-log"] = "\n".join(event["message"] for event in events)
    assert "the model says hello" in texts[False]
    assert "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD" in texts[True]
    assert f"{hosting.bucket}/in/a: Bad HTTP status received from algorithm: 500" in texts[True]
