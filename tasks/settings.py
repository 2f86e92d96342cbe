"""Where things are and what they run on: the ``BINVENTORY_*`` variables, or a ``.env`` file."""

import difflib
import ipaddress
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zoneinfo import available_timezones

from dotenv import dotenv_values
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.names import NAME
from training.errors import SettingsError

PREFIX = "BINVENTORY_"
NO_ROLE = "arn:aws:iam::000000000000:role/binventory"
"""Of nobody's account; the embedded cloud checks no roles."""


class Settings(BaseSettings):
    """All settings of an installation; frozen, so that a run cannot change its own ground."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(Path(".binventory"), description="Folder for runs, data and the state of local services.")
    target: Literal["local", "aws"] = Field("local", description="Which cloud: the embedded one, or AWS.")
    region: str = Field(
        "us-east-1",
        description="AWS region of bucket and jobs. On AWS, the default is AWS_REGION or AWS_DEFAULT_REGION, if set.",
    )
    bucket: str = Field("binventory", description="S3 bucket for data, code, models and results.", min_length=3)
    role: str = Field(
        NO_ROLE,
        description="ARN of the IAM role that SageMaker jobs run as.",
        pattern=r"^arn:aws[a-z\-]*:iam::\d{12}:role/.+",
    )
    credentials: str | None = Field(
        None,
        description='Prefect block with AWS credentials, like "aws-credentials/warehouse". Default: where boto3 looks.',
        pattern=r"^aws-credentials/[a-z0-9-]+$",
    )
    training_instance: str = Field("ml.g5.xlarge", description="Instance type of training jobs.", pattern=r"^ml\.")
    tuning_instance: str = Field("ml.g5.xlarge", description="Instance type of tuning trials.", pattern=r"^ml\.")
    head_instance: str = Field(
        "ml.c5.xlarge",
        description="Instance type of trials and trainings on a frozen backbone's features.",
        pattern=r"^ml\.",
    )
    training_instances: int = Field(1, description="Instances of the final training; they train together.", ge=1, le=64)
    training_processes: int = Field(
        0, description="Processes that torchrun starts on each instance; 0: one for each GPU, or one.", ge=0, le=64
    )
    serving_instance: str = Field("ml.c7i.xlarge", description="Instance type of the endpoint.", pattern=r"^ml\.")
    transform_instance: str = Field(
        "ml.c5.xlarge", description="Instance type of batch transform jobs.", pattern=r"^ml\."
    )
    serverless_memory_mb: int = Field(
        0, description="Memory of a serverless endpoint; 0 keeps an instance.", ge=0, le=6144, multiple_of=1024
    )
    serverless_concurrency: int = Field(5, description="Requests at once on a serverless endpoint.", ge=1, le=200)
    autoscaling_instances: int = Field(
        1, description="Most instances of the endpoint; above 1 it scales by itself, on AWS only.", ge=1, le=100
    )
    serving_workers: int = Field(
        0,
        description="Requests that an instance's model server handles at once. 0: what the container thinks best, "
        "on AWS a process for each core, in the embedded cloud eight threads for each, whose requests share batches.",
        ge=0,
        le=64,
    )
    startup_seconds: int = Field(
        240, description="How long a model may take to load before its endpoint is given up.", ge=60, le=3600
    )
    photo_hosts: str = Field(
        "",
        description="Hosts that the endpoint may fetch photos from by plain http, comma-separated; host=network "
        "(cameras.lan=10.20.0.0/16) lets it be at a private address.",
    )
    photo_buckets: str = Field("", description="Buckets that the endpoint may read photos from, comma-separated.")
    model_group: str = Field("binventory", description="Model package group of the registry.", pattern=NAME)
    approval: Literal["automatic", "manual"] = Field(
        "automatic", description="Whether a model that passes the gate is approved at once, or waits for a person."
    )
    min_accuracy: float = Field(0.0, description="The gate's floor for accuracy.", ge=0, le=1)
    max_rmse: float = Field(10.0, description="The gate's ceiling for RMSE, in objects.", gt=0)
    max_ece: float = Field(1.0, description="The gate's ceiling for the calibration error.", gt=0, le=1)
    max_drop: float = Field(
        0.01, description="How much less accurate than the deployed model, on the same photos, is let in.", ge=0, le=1
    )
    serving_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Arithmetic of predictions; auto takes bfloat16 where it is faster and agrees."
    )
    spot: bool = Field(True, description="Train on managed spot capacity; an interrupted job resumes by itself.")
    debugger: bool = Field(
        False,
        description="This account has SageMaker Debugger: its managed rules judge the training too. AWS gives it to no "
        "new customers since July 2026; our own rules need none of it.",
    )
    job_timeout_minutes: int = Field(
        240, description="How long a job may run before SageMaker stops it.", ge=1, le=7200
    )
    timezone: str = Field("UTC", description="Time zone of schedules, like Europe/Berlin: the nightly count's 02:30.")
    poll_seconds: float = Field(2.0, description="Seconds between looks at a job; fewer at first.", gt=0, le=60)
    ledger: str | None = Field(
        None,
        description="SQLAlchemy URL of the nightly counts' ledger (SQLite or PostgreSQL). Default: ledger.db in home.",
        repr=False,  # it may hold a password
    )
    notification: str | None = Field(
        None,
        description='Prefect notification block that hears of a night, like "slack-webhook/warehouse".',
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
    )

    @model_validator(mode="before")
    @classmethod
    def _region_is_the_shells_unless_set(cls, given: dict[str, Any]) -> dict[str, Any]:
        shells = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return {"region": shells} | given if shells and given.get("target") == "aws" else given

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"no time zone is named {name!r}; names are like Europe/Berlin")
        return name

    @field_validator("photo_hosts")
    @classmethod
    def _photo_hosts_are_hosts(cls, text: str) -> str:
        for part in text.split(","):
            if network := part.partition("=")[2]:
                ipaddress.ip_network(network.strip())
        return text

    @field_validator("training_instance", "tuning_instance", "head_instance", "serving_instance", "transform_instance")
    @classmethod
    def _containers_run_there(cls, instance: str, field: ValidationInfo) -> str:
        family = re.match(r"ml\.([a-z]+)\d*([a-z]*)", instance)
        letters, traits = family.groups() if family else ("", "")
        if letters in ("inf", "trn") or (letters not in ("g", "p") and "g" in traits):
            raise ValueError(f"{instance} has a processor of Amazon's own, for which our containers are not made")
        if letters in ("g", "p") and field.field_name in ("serving_instance", "transform_instance"):
            raise ValueError(
                f"{instance} has a GPU, which would be paid for and not used: photos are counted on the CPU"
            )
        return instance

    @model_validator(mode="after")
    def _scaling_goes_together(self) -> "Settings":
        if self.autoscaling_instances > 1 and self.target == "local":
            raise ValueError("autoscaling_instances above 1 needs target aws: the embedded cloud does not scale")
        if self.autoscaling_instances > 1 and self.serverless_memory_mb:
            raise ValueError("a serverless endpoint scales by itself: leave autoscaling_instances at 1")
        return self

    @property
    def training_minutes(self) -> int:
        """How long a training job may take; on spot capacity it may wait as long as it may run."""
        return self.job_timeout_minutes * (2 if self.spot else 1)

    @property
    def runs(self) -> Path:
        """Folder with one folder a run."""
        return self.home / "runs"


def load_settings() -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: a value is wrong, or a ``BINVENTORY_*`` key is not a setting.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {key.upper() for key in (*os.environ, *dotenv_values(".env")) if key.upper().startswith(PREFIX)}
    for key in sorted(given - known):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" Known are: {', '.join(sorted(known))}."
        raise SettingsError(f"{key} is not a setting (environment or .env).{hint}")
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors()
        )
        raise SettingsError(f"Settings are wrong: {problems}") from error


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once, with the home folder made absolute.

    Raises:
        SettingsError: as `load_settings` says; or the home folder is below that of a user whom nobody knows.
    """
    loaded = load_settings()
    try:
        home = loaded.home.expanduser().resolve()
    except RuntimeError as error:  # no such user, or a link that leads to itself
        raise SettingsError(f"{PREFIX}HOME: {loaded.home} is nowhere ({error}). Name a folder of your own.") from error
    return loaded.model_copy(update={"home": home})
