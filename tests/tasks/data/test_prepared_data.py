"""What the data stage hands on."""

from pathlib import Path
from typing import Any

import pytest

from tasks.data.prepared_data import PreparedData
from training.errors import WorkspaceError


def test_a_dataset_that_was_moved_or_deleted_is_said_to_be_gone(tmp_path: Path) -> None:
    place: dict[str, Any] = {"dataset": "abid", "folder": tmp_path, "catalog": tmp_path / "catalog.parquet"}
    data = PreparedData.model_construct(**place)
    with pytest.raises(WorkspaceError, match=f"abid is not in {tmp_path} any more.*begin with prepare"):
        data.here()
    data.catalog.touch()
    assert data.here() is data
