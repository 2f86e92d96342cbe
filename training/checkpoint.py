"""Checkpoints: after each epoch, everything that the next one depends on.

A resumed training ends as if it had never been interrupted.
"""

import dataclasses
import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from training.errors import TrainingError
from training.hyperparameters import Hyperparameters

FILE = "checkpoint.pt"


def key_of(recipe: Hyperparameters, *data_digests: str) -> str:
    """What a checkpoint belongs to: the recipe and the data."""
    told = json.dumps([dataclasses.asdict(recipe), *data_digests], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def save(folder: Path, key: str, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a killed writer leaves the one before it."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{FILE}.{os.getpid()}"
    random = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
    torch.save({"key": key, "random": random, "state": state}, scratch)
    scratch.replace(folder / FILE)


def load(folder: Path, key: str) -> dict[str, Any] | None:
    """Read the checkpoint and set the global random generators; None where there is none.

    Raises:
        TrainingError: it cannot be read, or belongs to another recipe or other data.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found, random, state = saved["key"], saved["random"], saved["state"]
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"the checkpoint {path} cannot be read: {error}; delete it to start over") from error
    if found != key:
        raise TrainingError(f"the checkpoint {path} is of another recipe or other data; delete it to start over")
    torch.set_rng_state(random["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(random["cuda"])
    return dict(state)
