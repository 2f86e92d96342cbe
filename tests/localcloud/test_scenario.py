"""The same story told by three clients that nobody here wrote: train, tune, deploy, ask, transform, stop, tear down."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.drivers import Boto3Driver, CommandLineDriver, Driver, SdkDriver
from tests.localcloud.hosting import ROLE, unique
from tests.localcloud.scenario import INFERENCE, LINE, METRICS, OBJECTS, TRAIN, WAIT
from tests.localcloud.training import channel, source_archive

PATIENCE_SECONDS = 300
INSTANCE = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5}


class Story:
    def __init__(self, driver: Driver, bucket: str) -> None:
        self.driver = driver
        self.bucket = f"s3://{bucket}"
        self.source = f"{self.bucket}/code/sourcedir.tar.gz"
        driver.put(self.source, source_archive({"train.py": TRAIN, "inference.py": INFERENCE, "wait.py": WAIT}))
        driver.put(f"{self.bucket}/data/line.csv", LINE)

    def definition(self) -> dict[str, Any]:
        """What a training job and a tuning job have in common."""
        return {
            "AlgorithmSpecification": {
                "TrainingImage": "pytorch-training:2.15-cpu",
                "TrainingInputMode": "File",
                "MetricDefinitions": METRICS,
            },
            "RoleArn": ROLE,
            "InputDataConfig": [channel("train", f"{self.bucket}/data/")],
            "OutputDataConfig": {"S3OutputPath": f"{self.bucket}/models"},
            "ResourceConfig": INSTANCE,
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
        }

    def parameters(self, program: str = "train.py") -> dict[str, str]:
        return {"sagemaker_program": program, "sagemaker_submit_directory": self.source}

    def wait(self, resource: str, name: str, *ends: str) -> dict[str, Any]:
        """Wait until a resource has one of the statuses; returns its description."""
        return self.wait_for(lambda: self.driver.describe(resource, name), f"{resource}Status", ends)

    def wait_for(self, describe: Callable[[], dict[str, Any]], member: str, values: tuple[str, ...]) -> dict[str, Any]:
        """Poll as seldom as a person would, because the jobs need the cores."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (described := describe())[member] not in values:
            assert time.monotonic() < deadline, f"{member} is {described[member]}, not one of {values}"
            time.sleep(1)
        return described

    def train(self) -> str:
        name = unique("train")
        hyperparameters = {**self.parameters(), "lr": "0.5", "steps": "200"}
        self.driver.create(
            "TrainingJob", {"TrainingJobName": name, "HyperParameters": hyperparameters, **self.definition()}
        )
        job = self.wait("TrainingJob", name, "Completed", "Failed")
        assert job["TrainingJobStatus"] == "Completed", self.driver.log(name)
        (metric,) = job["FinalMetricDataList"]
        assert metric["Value"] < 0.01
        assert any(line.startswith("train loss:") for line in self.driver.log(name))
        return str(job["ModelArtifacts"]["S3ModelArtifacts"])

    def tune(self) -> None:
        name = unique("tune")
        rate = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.9", "ScalingType": "Logarithmic"}
        self.driver.create(
            "HyperParameterTuningJob",
            {
                "HyperParameterTuningJobName": name,
                "HyperParameterTuningJobConfig": {
                    "Strategy": "Bayesian",
                    "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
                    "ResourceLimits": {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 2},
                    "ParameterRanges": {"ContinuousParameterRanges": [rate]},
                },
                "TrainingJobDefinition": {"StaticHyperParameters": self.parameters(), **self.definition()},
            },
        )
        job = self.wait("HyperParameterTuningJob", name, "Completed", "Failed")
        assert job["HyperParameterTuningJobStatus"] == "Completed"
        assert job["TrainingJobStatusCounters"]["Completed"] == 6
        assert len(self.driver.trials(name)) == 6
        assert job["BestTrainingJob"]["TrainingJobName"] in self.driver.trials(name)

    def deploy(self, artifact: str) -> tuple[str, str, str]:
        model, config, endpoint = unique("model"), unique("config"), unique("endpoint")
        container = {"Image": "pytorch-inference:2.15-cpu", "ModelDataUrl": artifact}
        self.driver.create("Model", {"ModelName": model, "PrimaryContainer": container, "ExecutionRoleArn": ROLE})
        variant = {
            "VariantName": "AllTraffic", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"
        }  # fmt: skip
        self.driver.create("EndpointConfig", {"EndpointConfigName": config, "ProductionVariants": [variant]})
        self.driver.create("Endpoint", {"EndpointName": endpoint, "EndpointConfigName": config})
        described = self.wait("Endpoint", endpoint, "InService", "Failed")
        assert described["EndpointStatus"] == "InService", described.get("FailureReason")
        return model, config, endpoint

    def transform(self, model: str) -> None:
        name = unique("transform")
        asked = {f"{number:02d}.json": json.dumps({"x": number / 10}).encode() for number in range(OBJECTS)}
        self.driver.put_all(f"{self.bucket}/ask", asked)
        self.driver.create(
            "TransformJob",
            {
                "TransformJobName": name,
                "ModelName": model,
                "TransformInput": {
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{self.bucket}/ask/"}},
                    "ContentType": "application/json",
                },
                "TransformOutput": {"S3OutputPath": f"{self.bucket}/answers"},
                "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            },
        )
        job = self.wait("TransformJob", name, "Completed", "Failed")
        assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
        for number in (0, OBJECTS - 1):
            answer = json.loads(self.driver.get(f"{self.bucket}/answers/{number:02d}.json.out"))
            assert answer["y"] == pytest.approx(2 * number / 10 + 1, abs=0.2)

    def stop(self) -> None:
        name = unique("wait")
        self.driver.create(
            "TrainingJob",
            {"TrainingJobName": name, "HyperParameters": self.parameters("wait.py"), **self.definition()},
        )
        self.wait_for(lambda: self.driver.describe("TrainingJob", name), "SecondaryStatus", ("Training",))
        self.driver.stop("TrainingJob", name)
        assert self.wait("TrainingJob", name, "Stopped", "Failed")["TrainingJobStatus"] == "Stopped"

    def tear_down(self, model: str, config: str, endpoint: str) -> None:
        self.driver.delete("Endpoint", endpoint)
        self.driver.delete("EndpointConfig", config)
        self.driver.delete("Model", model)
        for resource, name in (("EndpointConfig", config), ("Model", model)):
            with pytest.raises(Exception, match="Could not find"):
                self.driver.describe(resource, name)


@pytest.mark.parametrize(
    "kind", [SdkDriver, *(pytest.param(kind, marks=pytest.mark.drill) for kind in (Boto3Driver, CommandLineDriver))]
)
def test_the_same_story_by_every_client(
    cloud: RunningCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    for name, value in cloud.variables.items():
        monkeypatch.setenv(name, value)
    story = Story(kind(cloud, tmp_path), unique("story"))
    artifact = story.train()
    story.tune()
    model, config, endpoint = story.deploy(artifact)
    answer = json.loads(story.driver.invoke(endpoint, json.dumps({"x": 0.5}).encode()))
    assert answer["y"] == pytest.approx(2.0, abs=0.1)
    story.transform(model)
    story.stop()
    story.tear_down(model, config, endpoint)
