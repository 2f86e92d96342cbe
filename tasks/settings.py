"""Where things are and what they run on: the ``BINVENTORY_*`` variables, or a ``.env`` file."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from training.errors import SettingsError


class Settings(BaseSettings):
    """All settings, frozen. Unknown ``BINVENTORY_*`` keys in ``.env`` are refused."""

    model_config = SettingsConfigDict(env_prefix="BINVENTORY_", env_file=".env", extra="forbid", frozen=True)

    home: Path = Field(Path(".binventory"), description="Folder for runs, data, and local state.")
    target: Literal["local", "aws"] = Field("local", description="Which cloud: the embedded one, or AWS.")
    region: str = Field("us-east-1", description="AWS region of the bucket and the jobs.")
    bucket: str = Field("binventory", description="Bucket for data, code, models and results.")
