"""What the data stage hands on."""

from pathlib import Path

import pytest

from tasks.data.prepared_data import PreparedData
from training.errors import WorkspaceError


def test_a_dataset_that_was_moved_or_deleted_is_said_to_be_gone(tmp_path: Path) -> None:
    data = PreparedData.model_construct(dataset="abid", folder=tmp_path, catalog=tmp_path / "catalog.parquet")
    with pytest.raises(WorkspaceError, match=f"abid is not in {tmp_path} any more.*begin with prepare"):
        data.here()
    data.catalog.touch()
    assert data.here() is data
