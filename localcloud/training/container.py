"""The training container's contract, in a folder: ``/opt/ml``'s files, and the ``SM_*`` variables.

The tree is the container's, somewhere else: a script must take its paths from the ``SM_*`` variables, as those
written for SageMaker do. See SageMaker's "How Amazon SageMaker AI Provides Training Information" for the files
and sagemaker-training-toolkit's ENVIRONMENT_VARIABLES.md for the variables.
"""

import json
import os
import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from localcloud.errors import JobFailedError
from localcloud.store import Document

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_PREFIX = "/opt/ml"
TUNING_METRIC = "_tuning_objective_metric"
_OF_A_SHELL = re.compile(r"[;&|<>()$`\n]| #")


@dataclass(frozen=True)
class Container:
    """One host's ``/opt/ml`` at ``root``."""

    root: Path
    host: str
    hosts: list[str]

    @property
    def config(self) -> Path:
        """Where hyperparameters and resources are described."""
        return self.root / "input" / "config"

    @property
    def code(self) -> Path:
        """The extracted source archive."""
        return self.root / "code"

    @property
    def model(self) -> Path:
        """What becomes model.tar.gz."""
        return self.root / "model"

    @property
    def output(self) -> Path:
        """Holds ``data``, which becomes output.tar.gz, and ``failure``."""
        return self.root / "output"

    @property
    def output_data(self) -> Path:
        """What becomes output.tar.gz."""
        return self.output / "data"

    @property
    def failure(self) -> Path:
        """What a script says about its failure."""
        return self.output / "failure"

    @property
    def checkpoints(self) -> Path:
        """What is synced with CheckpointConfig.S3Uri."""
        return self.root / "checkpoints"

    def channel(self, name: str) -> Path:
        """A channel's data."""
        return self.root / "input" / "data" / name

    def relocate(self, path: str) -> Path:
        """A path of the container's, such as ``/opt/ml/checkpoints``, where it is here."""
        inside = path.removeprefix(_PREFIX).strip("/") if path.startswith(_PREFIX) else path.strip("/")
        return self.root / inside

    def make(self, job: Document) -> None:
        """Create the folders and the configuration files."""
        for folder in (self.config, self.code, self.model, self.output_data, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        for channel in job.get("InputDataConfig", []):
            self.channel(channel["ChannelName"]).mkdir(parents=True, exist_ok=True)
        files: dict[str, Any] = {
            "hyperparameters.json": {name: value for name, value in job.get("HyperParameters", {}).items() if value},
            "inputdataconfig.json": self._input_data_config(job),
            "resourceconfig.json": self._resource_config(job),
            "trainingjobarn.json": job["TrainingJobArn"],
        }
        if "DebugHookConfig" in job:
            files["debughookconfig.json"] = self._debug_hook_config(job["DebugHookConfig"])
        for name, content in files.items():
            (self.config / name).write_text(json.dumps(content))

    def environment(self, job: Document, clients: dict[str, str]) -> dict[str, str]:
        """Everything that the script's environment holds; ``clients`` are the AWS_* variables."""
        own = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {**own, **clients, **self._variables(job), **job.get("Environment", {})}

    def _variables(self, job: Document) -> dict[str, str]:
        resources = self._resource_config(job)
        parameters = user_parameters(job)
        channels = [channel["ChannelName"] for channel in job.get("InputDataConfig", [])]
        program = str(decode(job.get("HyperParameters", {}).get("sagemaker_program", "")))
        plain: dict[str, Any] = {
            "SM_MODEL_DIR": self.model,
            "SM_MODULE_DIR": job.get("HyperParameters", {}).get("sagemaker_submit_directory", ""),
            "SM_MODULE_NAME": program.removesuffix(".py"),
            "SM_USER_ENTRY_POINT": program,
            "SM_INPUT_DIR": self.root / "input",
            "SM_INPUT_CONFIG_DIR": self.config,
            "SM_OUTPUT_DIR": self.output,
            "SM_OUTPUT_DATA_DIR": self.output_data,
            "SM_OUTPUT_INTERMEDIATE_DIR": self.output / "intermediate",
            "SM_CHECKPOINT_DIR": self.checkpoints,
            "SM_CURRENT_HOST": self.host,
            "SM_CURRENT_INSTANCE_TYPE": resources["current_instance_type"],
            "SM_CURRENT_INSTANCE_GROUP": resources["current_group_name"],
            "SM_NETWORK_INTERFACE_NAME": resources["network_interface_name"],
            "SM_NUM_CPUS": os.cpu_count() or 1,
            "SM_NUM_GPUS": _gpus(),
            "SM_NUM_NEURONS": 0,
            "SM_IS_HETERO": "false",
            "SM_LOG_LEVEL": 20,
            "TRAINING_JOB_NAME": job["TrainingJobName"],
            "TRAINING_JOB_ARN": job["TrainingJobArn"],
            "SAGEMAKER_JOB_NAME": job["TrainingJobName"],
            "SAGEMAKER_BASE_DIR": self.root,
            "PYTHONPATH": self.code,
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        coded: dict[str, Any] = {
            "SM_HOSTS": self.hosts,
            "SM_CURRENT_INSTANCE_GROUP_HOSTS": self.hosts,
            "SM_INSTANCE_GROUPS": resources["instance_groups"],
            "SM_CHANNELS": sorted(channels),
            "SM_HPS": parameters,
            "SM_USER_ARGS": _words(parameters),
            "SM_INPUT_DATA_CONFIG": self._input_data_config(job),
            "SM_RESOURCE_CONFIG": resources,
        }
        for name in channels:
            plain[f"SM_CHANNEL_{_upper(name)}"] = self.channel(name)
        for name, value in parameters.items():
            plain[f"SM_HP_{_upper(name)}"] = value if isinstance(value, str) else json.dumps(value)
        if "DebugHookConfig" in job:
            plain["SMDEBUG_CONFIG_FILE_PATH"] = self.config / "debughookconfig.json"
        return {name: str(value) for name, value in plain.items()} | {
            name: json.dumps(value) for name, value in coded.items()
        }

    def _input_data_config(self, job: Document) -> dict[str, Any]:
        return {
            channel["ChannelName"]: {
                "TrainingInputMode": channel.get("InputMode", "File"),
                "ContentType": channel.get("ContentType"),
                "S3DistributionType": channel["DataSource"]
                .get("S3DataSource", {})
                .get("S3DataDistributionType", "FullyReplicated"),
                "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            }
            for channel in job.get("InputDataConfig", [])
        }

    def _resource_config(self, job: Document) -> dict[str, Any]:
        instance_type = job.get("ResourceConfig", {}).get("InstanceType", "ml.m5.large")
        group = {
            "instance_group_name": "homogeneousCluster",
            "instance_type": instance_type,
            "hosts": self.hosts,
        }
        return {
            "current_host": self.host,
            "current_instance_type": instance_type,
            "current_group_name": "homogeneousCluster",
            "hosts": self.hosts,
            "instance_groups": [group],
            "network_interface_name": _loopback_interface(),
        }

    def _debug_hook_config(self, config: Document) -> Document:
        # smdebug reads this file, and wants the tensors' folder where it really is.
        local = self.relocate(config.get("LocalPath", "/opt/ml/output/tensors"))
        return {**config, "LocalPath": str(local)}


def decode(value: str) -> Any:
    """A hyperparameter's value: JSON where it is, as the SDK writes it, else the string itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def user_parameters(job: Document) -> dict[str, Any]:
    """The hyperparameters that are the script's, decoded; ``sagemaker_*`` and the tuner's are the toolkit's.

    SageMaker takes empty ones and does not pass them on (aws/sagemaker-python-sdk#582).
    """
    return {
        name: decode(value)
        for name, value in job.get("HyperParameters", {}).items()
        if value and not name.startswith("sagemaker_") and name != TUNING_METRIC
    }


def script_arguments(parameters: dict[str, Any]) -> list[str]:
    """Hyperparameters as a script gets them on its command line: ``--name value``, sorted.

    The toolkit joins the words with spaces, quotes none of them, and lets a shell run the line; so quotes,
    backslashes and empty values are lost, and spaces part words.

    Raises:
        JobFailedError: a shell would do something else than to pass a value on.
    """
    line = " ".join(_words(parameters))
    found = _OF_A_SHELL.search(line)
    try:
        return shlex.split(line) if not found else _refuse(f"it acts on {found[0].strip()!r}")
    except ValueError as error:  # a quote without its other half
        return _refuse(str(error))


def _refuse(reason: str) -> NoReturn:
    raise JobFailedError(
        "AlgorithmError: ExecuteUserScriptError: SageMaker's training toolkit hands hyperparameters to a shell without "
        f"quoting them, and the shell makes more of these than values: {reason}. Send them encoded"
    )


def _words(parameters: dict[str, Any]) -> list[str]:
    words = []
    for name in sorted(parameters):
        words += [f"--{name}" if len(name) > 1 else f"-{name}", _argument(parameters[name])]
    return words


def _argument(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in sorted(value.items()))
    return "" if value is None else str(value)


def _upper(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_")


def _gpus() -> int:
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _loopback_interface() -> str:
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
