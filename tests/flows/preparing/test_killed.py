"""``kill -9`` at random moments, of which some are in the middle of each stage, then a run to the end."""

import fcntl
import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest
from prefect.settings import get_current_settings

from tasks.data.demo_photos.bucket import demo_folder, stage_demo_bucket
from tasks.data.fetch import IN_FLIGHT
from tests.flows.preparing.killed_in_child import WORKERS
from tests.forking import Forked, fork
from tests.s3_server import serving_s3
from tests.tasks.bucket_server import serving

LATENCY = 0.3
LONGEST_WAIT = 12.0


@dataclass(frozen=True)
class Moment:
    """When to kill a run: after so many seconds, or when it has done so many more of something."""

    what: Literal["seconds", "metadata", "bin-images", "objects"]
    number: float


def moments(chance: random.Random, of_each: int) -> list[Moment]:
    """Five moments or ten, from the start of the first run to the end of what the last one has to do.

    A run that fetches more than can be in flight has kept some; two such runs do not come to the end of the list.
    """
    fetches = range(IN_FLIGHT * WORKERS + 12, IN_FLIGHT * WORKERS + 42)
    return [
        Moment("seconds", chance.uniform(0, 2)),
        *[Moment("metadata", chance.choice(fetches)) for _ in range(of_each)],
        *[Moment("bin-images", chance.choice(fetches)) for _ in range(of_each)],
        *[Moment("objects", chance.randrange(40, 120)) for _ in range(of_each)],
        *[Moment("seconds", chance.uniform(0, LONGEST_WAIT)) for _ in range(2 * of_each - 1)],
    ]


@dataclass
class Runs:
    """Runs of the flow over one source, in homes of their own."""

    folder: Path
    variables: dict[str, str]
    parameters: dict[str, Any]

    def start(self, home: str) -> Forked:
        here = {"BINVENTORY_HOME": str(self.folder / home), "BINVENTORY_BUCKET": f"bucket-{home}"}
        variables = os.environ | self.variables | here
        return fork(variables, "tests.flows.preparing.killed_in_child", json.dumps(self.parameters))

    def kill(self, home: str, moment: Moment) -> None:
        """Start a run, kill it at its moment, and wait until all that worked for it is gone and the source is idle."""
        begun = len(self.uploaded(home)) if moment.what == "objects" else len(self.gets())
        process = self.start(home)
        assert process.stdout.readline() == "started\n"
        if moment.what == "seconds":
            time.sleep(moment.number)
        while moment.what != "seconds" and self._since(home, moment.what, begun) < moment.number:
            assert process.poll() is None, f"the run ended before its moment, {moment}"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        lock = self.folder / home / "data/killed/state/lock"
        if lock.exists():
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # workers hold it until they notice
        time.sleep(2 * LATENCY)

    def _since(self, home: str, what: str, begun: int) -> int:
        if what == "objects":
            return len(self.uploaded(home)) - begun
        return len(_of_kind(self.gets()[begun:], what))

    def gets(self) -> list[str]:
        """The keys that the source has been asked for, in order."""
        log = self.folder / "gets.log"
        return log.read_text().split() if log.exists() else []

    def uploaded(self, home: str) -> list[Path]:
        """The photos that are at the destination."""
        return list((self.folder / f"buckets/bucket-{home}/datasets/killed").glob("*/*/*.jpg"))

    @property
    def listed(self) -> int:
        """How many photos the list has."""
        classes = json.loads(Path(self.parameters["file_list"]).read_text())
        return sum(len(entries) for entries in classes.values())

    def finish(self, home: str) -> dict[str, Any]:
        out, _ = self.start(home).communicate(timeout=240)
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        return result

    def results(self, home: str) -> dict[str, str]:
        """Digests of everything that a run leaves, but for its memory."""
        roots = {
            "here": self.folder / home / "data/killed",
            "there": self.folder / f"buckets/bucket-{home}/datasets/killed",
        }
        return {
            f"{name}/{path.relative_to(root)}": hashlib.sha256(path.read_bytes()).hexdigest()
            for name, root in roots.items()
            for path in root.rglob("*")
            if path.is_file() and path.relative_to(root).parts[0] != "state"
        }


@pytest.fixture
def runs(prefect_api: None, tmp_path: Path) -> Iterator[Runs]:
    (tmp_path / "buckets").mkdir()
    with (
        serving_s3(tmp_path / "buckets") as variables,
        serving(tmp_path / "buckets", "--latency", str(LATENCY), "--log", str(tmp_path / "gets.log")) as source,
    ):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            stage_demo_bucket("s3://rendered", photos=700, seed=3)
        rendered = demo_folder("rendered", photos=700, seed=3)
        (tmp_path / "buckets" / rendered).rename(tmp_path / "buckets/the-source")
        parameters = {"source": "s3://the-source", "source_endpoint": source, "dataset": "killed"}
        file_list = tmp_path / "buckets/the-source/file_list.json"
        api = str(get_current_settings().api.url)
        yield Runs(
            tmp_path,
            variables | {"PREFECT_API_URL": api, "PREFECT_LOGGING_LEVEL": "CRITICAL"},
            parameters | {"file_list": str(file_list), "shard_size": 64},
        )


@pytest.mark.parametrize("of_each", [1, pytest.param(2, marks=pytest.mark.drill)])
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(runs: Runs, of_each: int) -> None:
    kept: set[str] = set()
    for moment in moments(random.Random(11), of_each):
        earlier = len(runs.gets())
        runs.kill("killed", moment)
        gets = runs.gets()[earlier:]
        assert kept.isdisjoint(gets), "what was kept has been fetched again"
        now = _kept(runs.folder / "killed/data/killed")
        assert kept <= now, "what was kept is gone"
        kept = now
        assert len(set(gets) - kept) <= IN_FLIGHT * WORKERS, "more was lost than can be in flight"
        if moment.what != "seconds":
            uploading = moment.what == "objects"
            done = len(runs.uploaded("killed") if uploading else _of_kind(kept, moment.what))
            assert 0 < done < runs.listed, f"the kill was to be in the middle of {moment.what}"
    earlier = len(runs.gets())
    result = runs.finish("killed")
    assert kept.isdisjoint(runs.gets()[earlier:])
    assert result["images"]["missing"] == result["images"]["corrupt"] == 0

    calm = runs.finish("calm")
    assert result["digest"] == calm["digest"]
    assert runs.results("killed") == runs.results("calm")


def _of_kind(keys: Iterable[str], kind: str) -> list[str]:
    return [key for key in keys if key.startswith(f"{kind}/")]


def _kept(folder: Path) -> set[str]:
    """The keys of everything that a killed run had fetched and kept."""
    photos = {f"bin-images/{path.stem}.jpg" for path in folder.glob("train_data/*/*.jpg")}
    journals = folder.glob("state/metadata/*.jsonl")
    lines = [line for path in journals for line in path.read_text().splitlines() if line.endswith("}")]
    folded = [pq.read_table(path, columns=["id"])["id"].to_pylist() for path in folder.glob("state/metadata/*.parquet")]
    ids = {json.loads(line)["id"] for line in lines}.union(*folded)
    return photos | {f"metadata/{photo_id}.json" for photo_id in ids}
