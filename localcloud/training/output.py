"""What a training job leaves in S3: model, output, checkpoints, and tensors."""

import os
from collections.abc import Iterator
from pathlib import Path

from localcloud import archives
from localcloud.errors import JobFailedError
from localcloud.operations import Cloud
from localcloud.s3 import S3Error, join_uri
from localcloud.store import Document
from localcloud.training.container import Container

GIVE_UP_AFTER = 10
_REMOVED = (FileNotFoundError, NotADirectoryError)  # what the script removed while it was looked at


class FolderSync:
    """Keeps S3 prefixes up to date with folders: uploads what is new or has changed since the last look."""

    def __init__(self, cloud: Cloud, pairs: list[tuple[Path, str]]) -> None:
        self._cloud = cloud
        self._pairs = pairs
        self._seen: dict[Path, tuple[int, int]] = {}

    def run(self, *, settled_before: float | None = None) -> None:
        """Upload changes; files written after ``settled_before`` (seconds since the epoch) wait.

        A file that cannot be stored does not keep the others, but a folder that cannot be read ends the look.
        Raises S3Error or OSError in the end.
        """
        problems: list[Exception] = []
        for path, folder, uri in self._files():
            try:
                self._look_at(path, folder, uri, settled_before)
            except _REMOVED:
                continue
            except (S3Error, OSError) as error:
                problems.append(error)
                if len(problems) == GIVE_UP_AFTER:  # each may have taken minutes
                    break
        if problems:
            raise S3Error(f"{problems[0]} (the first of {len(problems)} such files)") from problems[0]

    def _files(self) -> Iterator[tuple[Path, Path, str]]:
        for folder, uri in self._pairs:
            for parent, _, names in os.walk(folder, onerror=_unless_removed):
                for name in names:
                    yield Path(parent, name), folder, uri

    def _look_at(self, path: Path, folder: Path, uri: str, settled_before: float | None) -> None:
        stat = path.stat()
        state = (stat.st_mtime_ns, stat.st_size)
        if not path.is_file() or self._seen.get(path) == state:
            return
        if settled_before is not None and stat.st_mtime > settled_before:
            return
        self._cloud.s3.put(join_uri(uri, path.relative_to(folder).as_posix()), path)
        self._seen[path] = state


def _unless_removed(error: OSError) -> None:
    if not isinstance(error, _REMOVED):
        raise error


def synced_folders(job: Document, containers: list[Container]) -> list[tuple[Path, str]]:
    """The folders that are kept in S3 while the job runs: checkpoints, debugger tensors, TensorBoard."""
    name = job["TrainingJobName"]
    pairs: list[tuple[Path, str]] = []
    for container in containers:
        if "CheckpointConfig" in job:
            pairs.append((container.checkpoints, job["CheckpointConfig"]["S3Uri"]))
        if "DebugHookConfig" in job:
            config = job["DebugHookConfig"]
            folder = container.relocate(config.get("LocalPath", "/opt/ml/output/tensors"))
            pairs.append((folder, join_uri(config["S3OutputPath"], name, "debug-output")))
        if "TensorBoardOutputConfig" in job:
            config = job["TensorBoardOutputConfig"]
            folder = container.relocate(config.get("LocalPath", "/opt/ml/output/tensorboard"))
            pairs.append((folder, join_uri(config["S3OutputPath"], name, "tensorboard-output")))
    return pairs


def upload_outputs(cloud: Cloud, job: Document, containers: list[Container], *, with_model: bool) -> None:
    """Store model.tar.gz and, when there is any, output.tar.gz. Raises JobFailedError."""
    base = join_uri(job["OutputDataConfig"]["S3OutputPath"], job["TrainingJobName"], "output")
    plain = job["OutputDataConfig"].get("CompressionType") == "NONE"
    try:
        if with_model:
            _upload(cloud, [container.model for container in containers], base, "model", plain=plain)
        outputs = [container.output_data for container in containers]
        if any(any(folder.iterdir()) for folder in outputs if folder.exists()):
            _upload(cloud, outputs, base, "output", plain=plain)
    except (S3Error, OSError) as error:
        raise JobFailedError(f"ClientError: the output cannot be stored: {error}") from error


def _upload(cloud: Cloud, folders: list[Path], base: str, name: str, *, plain: bool) -> None:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)  # the script may have removed it
    work = folders[0].parents[2] / f"{name}.packing"
    if plain:
        archives.merge(folders, work)
        cloud.s3.upload_folder(work, join_uri(base, name))
        return
    archive = work.with_suffix(".tar.gz")
    archives.pack(folders, archive)
    cloud.s3.put(join_uri(base, f"{name}.tar.gz"), archive)
    archive.unlink()
