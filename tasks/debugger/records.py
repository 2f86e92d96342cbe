"""A job's debugger records: where they are on S3, and their copy on disk, checked."""

import dataclasses
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
from smdebug.core.access_layer.utils import END_OF_JOB_FILENAME
from smdebug.exceptions import SMDebugError
from smdebug.trials import create_trial

from tasks.debugger.profile import Profile
from tasks.object_store import open_store, split_uri
from training.debugger.options import PROFILE, TENSORS
from training.errors import DebuggerError

MAX_BYTES = 4 * 2**30
READERS = 16


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where a job's records are.

    Attributes:
        tensors: S3 prefix.
        profile: S3 prefix.
        archive: S3 URI of output.tar.gz, which has them where the job had no other way.
    """

    tensors: str
    profile: str
    archive: str

    @classmethod
    def of(cls, job: Any) -> "Sources":
        """Read a TrainingJob of the SageMaker SDK: Debugger's own places, or those beside the checkpoints."""
        name, output = job.training_job_name, str(job.output_data_config.s3_output_path).rstrip("/")
        archive = f"{output}/{name}/output/output.tar.gz"
        base = f"{output}/{name}"
        if found := _given(job, "checkpoint_config", "s3_uri"):
            base = found
        tensors, profile = f"{base}/{TENSORS}", f"{base}/{PROFILE}"
        if found := _given(job, "debug_hook_config", "s3_output_path"):
            tensors = f"{found}/{name}/{TENSORS}"
        return cls(tensors, profile, archive)


def _given(job: Any, member: str, field: str) -> str:
    value = getattr(getattr(job, member, None), field, None)
    return value.rstrip("/") if isinstance(value, str) else ""


@dataclasses.dataclass
class Records:
    """The records of a job on disk.

    Attributes:
        folder: that they are in.
        problems: what is missing or damaged, in words.
    """

    folder: Path
    problems: list[str] = dataclasses.field(default_factory=list)

    def trial(self) -> Any | None:
        """Smdebug's trial of the tensors that are whole; None where there are none."""
        folder = self.folder / TENSORS
        if not list(folder.rglob("*_collections.json")):
            self.problems.append("The job left no tensors: it was not run by finetune_debugger.py, or ended too early.")
            return None
        self._drop_cut_steps(folder)
        (folder / END_OF_JOB_FILENAME).touch()
        try:
            trial = create_trial(str(folder))
        except (SMDebugError, ValueError, KeyError) as error:
            self.problems.append(f"The tensors cannot be read: {error}")
            return None
        return _remembering(trial)

    def profile(self) -> Profile | None:
        """The profile; None where there is none."""
        if not (self.folder / PROFILE).is_dir():
            self.problems.append("The job left no profile.")
            return None
        try:
            return Profile(self.folder / PROFILE)
        except (ValueError, KeyError) as error:
            self.problems.append(f"The profile cannot be read: {error}")
            return None

    def _drop_cut_steps(self, folder: Path) -> None:
        """Leave out the steps whose files are not whole: a job that was killed leaves such."""
        cut = []
        for index in sorted(folder.glob("index/*/*.json")):
            if not _is_whole(index, folder):
                cut.append(int(index.name.split("_")[0]))
                index.unlink()
        if cut:
            shown = ", ".join(map(str, cut[:10])) + (", …" if len(cut) > 10 else "")
            self.problems.append(f"The tensors of {len(cut)} steps are cut short and left out (global steps {shown}).")


def _is_whole(index: Path, folder: Path) -> bool:
    try:
        content = json.loads(index.read_text())
        entries = content.get("tensor_payload") or []
        size = (folder / content["meta"]["event_file_name"]).stat().st_size if entries else 0
        return all(entry["start_idx"] + entry["length"] <= size for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _remembering(trial: Any) -> Any:
    """Let several rules read a tensor that is fetched once."""
    fetch, seen = trial.index_reader.fetch_tensor_value, dict[tuple[str, int], Any]()

    def remembered(location: Any) -> Any:
        key = (location.event_file_name, location.start_idx)
        if key not in seen:
            seen[key] = fetch(location)
        return seen[key]

    trial.index_reader.fetch_tensor_value = remembered
    return trial


def fetch_records(sources: Sources, folder: Path) -> Records:
    """Copy a job's records from S3 into ``folder``.

    Raises:
        DebuggerError: they are larger than any debugger's records should be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _download(sources.profile, folder / PROFILE)
    records = fetch_tensors(sources, folder)
    if not (folder / TENSORS).is_dir():
        _unpack(sources.archive, records)
    return records


def fetch_tensors(sources: Sources, folder: Path) -> Records:
    """Copy what a job has recorded of its tensors so far; what ``folder`` has of them already stays.

    Raises:
        DebuggerError: they are larger than any debugger's records should be.
    """
    _download(sources.tensors, folder / TENSORS)
    return Records(folder)


def _download(uri: str, folder: Path) -> None:
    bucket, prefix = split_uri(uri)
    store = open_store(f"s3://{bucket}")
    there = [item for page in obstore.list(store, f"{prefix}/") for item in page if not item["path"].endswith(".tmp")]
    if sum(item["size"] for item in there) > MAX_BYTES:
        raise DebuggerError(f"{uri} holds more than {MAX_BYTES >> 30} GiB; record fewer whole tensors")

    def bring(item: Any) -> None:
        target = (folder / item["path"].removeprefix(f"{prefix}/")).resolve()
        written = item["last_modified"].timestamp()
        if not target.is_relative_to(folder.resolve()) or _is_copy(target, item["size"], written):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(obstore.get(store, item["path"]).bytes())
        os.utime(target, (written, written))

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(bring, there))


def _is_copy(file: Path, size: int, written: float) -> bool:
    """Whether a file is the object of that size, written at that time; a step that is done again is written again."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return False
    return found.st_size == size and abs(found.st_mtime - written) < 1e-3


def _unpack(uri: str, records: Records) -> None:
    bucket, key = split_uri(uri)
    packed = records.folder / "output.tar.gz"
    try:
        packed.write_bytes(obstore.get(open_store(f"s3://{bucket}"), key).bytes())
    except FileNotFoundError:
        return
    try:
        with tarfile.open(packed) as archive:
            wanted = [m for m in archive if m.name.split("/")[0] in (TENSORS, PROFILE)]
            if sum(member.size for member in wanted) > MAX_BYTES:
                raise DebuggerError(f"{uri} holds more than {MAX_BYTES >> 30} GiB; record fewer whole tensors")
            archive.extractall(records.folder, members=wanted, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        records.problems.append(f"{uri} cannot be unpacked: {error}")
    finally:
        packed.unlink()
