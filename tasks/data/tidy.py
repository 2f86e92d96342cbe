"""Brings the count folders in line with the list before anything is fetched."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.chunks import read_listing
from tasks.data.metadata_stage import effective_counts
from tasks.data.photo_ids import PARTITIONS
from tasks.data.workspace import Workspace, explain_disk_errors


def tidy(workspace: Workspace) -> dict[str, int]:
    """Move photos to where the list and the metadata say they belong; delete scraps of killed writers.

    A photo whose expected quantity has changed moves to the folder of the new one. A photo that isn't listed any
    more leaves ``train_data`` for ``unlisted``, and comes back from there when it is listed again; while the source
    changes, it is quarantined as another source's instead. Files that aren't photos of ours are left alone.

    Returns:
        How many were ``moved``, ``unlisted`` and ``listed_again``.
    """
    with explain_disk_errors(workspace.folder):
        wanted = _wanted(workspace)
        done = {"moved": 0, "unlisted": 0, "listed_again": 0}
        for folder in _count_folders(workspace):
            for path in _files(folder):
                _place(workspace, path, wanted.get(path.stem), done)
        for path in _files(workspace.unlisted):
            count = wanted.get(path.stem)
            if count is not None:
                _move(path, workspace.photo(path.stem, count))
                done["listed_again"] += 1
            elif workspace.changing_source:
                _move(path, _other_source(workspace, path))
        return done


def _wanted(workspace: Workspace) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for partition in range(PARTITIONS):
        listing = read_listing(workspace, (partition,))
        ids: list[Any] = listing["id"].to_pylist()
        counts: list[Any] = effective_counts(workspace, partition, listing).to_pylist()
        wanted.update((i, count) for i, count in zip(ids, counts, strict=True) if count is not None)
    return wanted


def _place(workspace: Workspace, path: Path, count: int | None, done: dict[str, int]) -> None:
    if path.name.endswith(".part"):
        path.unlink()
    elif count is None:
        unlisted = workspace.unlisted / path.name
        _move(path, _other_source(workspace, path) if workspace.changing_source else unlisted)
        done["unlisted"] += 1
    elif path.parent.name != str(count):
        _move(path, workspace.photo(path.stem, count))
        done["moved"] += 1


def _other_source(workspace: Workspace, path: Path) -> Path:
    return workspace.quarantine / "other_source" / path.name


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)


def _count_folders(workspace: Workspace) -> list[Path]:
    if not workspace.photos.exists():
        return []
    return [folder for folder in workspace.photos.iterdir() if folder.is_dir() and folder.name.isdigit()]


def _files(folder: Path) -> Iterator[Path]:
    if folder.exists():
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith((".jpg", ".part"))]
        for name in names:
            yield folder / name
