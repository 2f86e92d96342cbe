"""Chunks: tens of them at most, however long the list is."""

from itertools import chain
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.data.chunks import MOST_CHUNKS, read_listing, split_into_chunks, write_listing
from tasks.data.file_list import SCHEMA
from tasks.data.workspace import Workspace


@pytest.mark.parametrize(("photos", "chunks"), [(1, 1), (1_000, 2), (10_000, 20), (536_434, MOST_CHUNKS)])
def test_a_list_of_any_length_makes_a_few_chunks_of_about_the_same_size(
    tmp_path: Path, photos: int, chunks: int
) -> None:
    workspace = Workspace(tmp_path)
    workspace.state.mkdir()
    listing = {"id": [str(n) for n in range(photos)], "listed_count": pa.nulls(photos, pa.int32())}
    write_listing(workspace, pa.table(listing, schema=SCHEMA))
    made = split_into_chunks(workspace)
    assert [(chunk.number, chunk.of) for chunk in made] == [(n, chunks) for n in range(1, chunks + 1)]
    assert chunks <= 24
    listed = set(read_listing(workspace)["partition"].to_pylist())
    assert sorted(chain.from_iterable(chunk.partitions for chunk in made)) == sorted(listed)
    sizes = [read_listing(workspace, chunk.partitions).num_rows for chunk in made]
    assert sum(sizes) == photos
    assert max(sizes) <= 1.5 * photos / chunks
