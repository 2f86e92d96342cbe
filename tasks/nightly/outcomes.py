"""What became of each photo that was to be counted, kept in the run's folder."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from serving.prediction import Prediction
from tasks.home import write_at_home

GONE = "the object is gone, or was replaced"


class Outcome(BaseModel):
    """Counted, with a prediction; unreadable, for good; or uncounted: tried and given up for now."""

    model_config = ConfigDict(frozen=True)

    status: Literal["counted", "unreadable", "uncounted"]
    prediction: Prediction | None = None
    reason: str | None = None


_OUTCOMES: TypeAdapter[dict[str, Outcome]] = TypeAdapter(dict[str, Outcome])


def read_outcomes(folder: Path, chunk: int) -> dict[str, Outcome] | None:
    """Return a chunk's outcomes by photo; None while it has not been counted."""
    path = _file(folder, chunk)
    return _OUTCOMES.validate_json(path.read_bytes()) if path.exists() else None


def write_outcomes(folder: Path, chunk: int, outcomes: dict[str, Outcome]) -> None:
    """Keep a chunk's outcomes."""
    write_at_home(_file(folder, chunk), _OUTCOMES.dump_json(outcomes).decode())


def forget_outcomes(folder: Path) -> None:
    """Count all chunks anew: what is kept is another model's."""
    for path in folder.glob("counted-*.json"):
        path.unlink()


def _file(folder: Path, chunk: int) -> Path:
    return folder / f"counted-{chunk}.json"
