"""A dataset's local folder: where everything is, and who may write to it."""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tasks.atomic_file import write_atomically
from tasks.home import explain_disk_errors_as
from training.errors import WorkspaceError

PATIENCE_SECONDS = 15.0
_CHANGING = "changing"


@dataclass(frozen=True)
class Workspace:
    """``<home>/data/<dataset>``: results beside ``state/``, which is what a killed run leaves to the next."""

    folder: Path

    @property
    def catalog(self) -> Path:
        """One Parquet row per listed photo."""
        return self.folder / "catalog.parquet"

    @property
    def photos(self) -> Path:
        """Photos by count: ``train_data/<count>/<id>.jpg``."""
        return self.folder / "train_data"

    @property
    def quarantine(self) -> Path:
        """What was downloaded and cannot be used: ``quarantine/<reason>/<id>.jpg``."""
        return self.folder / "quarantine"

    @property
    def unlisted(self) -> Path:
        """Photos that an earlier list had and the present one hasn't; used again when they are listed again."""
        return self.folder / "unlisted"

    @property
    def shards(self) -> Path:
        """Packed shards by split."""
        return self.folder / "shards"

    @property
    def reports(self) -> Path:
        """Contact sheets and tables."""
        return self.folder / "reports"

    @property
    def split_report(self) -> Path:
        """What leaks from train to test, and each split's photos by count."""
        return self.reports / "split.md"

    @property
    def left_out(self) -> Path:
        """Which photos of a bucket that was listed as a whole are in no list, since their records say no count."""
        return self.reports / "left-out.csv"

    @property
    def manifest(self) -> Path:
        """The manifest as uploaded."""
        return self.folder / "manifest.json"

    @property
    def state(self) -> Path:
        """What runs remember."""
        return self.folder / "state"

    def photo(self, photo_id: str, count: int) -> Path:
        """Return where the photo of ``photo_id`` lies."""
        return Path(self.photo_path(photo_id, count))

    def photo_path(self, photo_id: str, count: int) -> str:
        """Return where the photo of ``photo_id`` lies, as a string, which is much the quicker to make."""
        return f"{self.folder}/train_data/{count}/{photo_id}.jpg"

    def changes_source(self, source: str) -> bool:
        """Whether what is here is, or may be, another source's than ``source``; a new workspace becomes its.

        Until ``remember_source`` is called, the answer stays yes, so that a killed change is gone on with.
        """
        with explain_disk_errors(self.folder):
            memory = self.state / "source"
            known = memory.read_text() if memory.exists() else source
            write_atomically(memory, known if known == source else _CHANGING)
            return known != source

    @property
    def changing_source(self) -> bool:
        """Whether a change of source was begun and has not ended: what is known here may be of another source."""
        memory = self.state / "source"
        return memory.exists() and memory.read_text() == _CHANGING

    def remember_source(self, source: str, *, given_up: int) -> None:
        """Remember that everything here is ``source``'s, if no transfer was ``given_up``."""
        if given_up:
            return
        with explain_disk_errors(self.folder):
            write_atomically(self.state / "source", source)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[int]:
        """Keep other runs out while the context lasts; the kernel opens the lock if this process is killed.

        Workers of a run that was killed hold it until they notice that it is gone; that is waited for.

        Yields:
            The descriptor of the lock; processes that inherit it keep other runs out too.

        Raises:
            WorkspaceError: the folder cannot be written to, or another run is at work in it.
        """
        with explain_disk_errors(self.folder):
            self.state.mkdir(parents=True, exist_ok=True)
            lock = (self.state / "lock").open("ab")
        with lock:
            try:
                _until_free(fcntl.flock, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkspaceError(
                    f"Another run is preparing {self.folder}. Wait for it, or give this one a --dataset of its own."
                ) from None
            with explain_disk_errors(self.folder):
                self._sweep()
            yield lock.fileno()

    def _sweep(self) -> None:
        """Delete what killed writers left half done; count folders are swept where they are tidied."""
        for pattern in (".*.part", "shards/*/.*.part", "reports/.*.part", "quarantine/*/.*.part", "state/**/.*.part"):
            for scrap in self.folder.glob(pattern):
                scrap.unlink()


def _until_free(call: Callable[..., None], *arguments: Any) -> None:
    retrying = Retrying(
        retry=retry_if_exception_type(BlockingIOError),
        stop=stop_after_delay(PATIENCE_SECONDS),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    retrying(call, *arguments)


def explain_disk_errors(folder: Path) -> AbstractContextManager[None]:
    """Turn a full disk, or a folder that may not be written to, into a ``WorkspaceError`` that says what to do."""
    return explain_disk_errors_as(WorkspaceError, folder)
