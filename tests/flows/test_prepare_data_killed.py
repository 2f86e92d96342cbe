"""``kill -9`` at ten random moments, then a run to the end."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.settings import get_current_settings
from prefect.testing.utilities import prefect_test_harness

from tasks.data.demo_photos.bucket import stage_demo_bucket
from tests.s3_server import serving_s3
from tests.tasks.bucket_server import serving

KILLS = 10
LONGEST_WAIT = 7.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Runs:
    """Runs of the flow over one source, in homes of their own."""

    folder: Path
    variables: dict[str, str]
    parameters: dict[str, Any]

    def start(self, home: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.flows.prepare_in_child", json.dumps(self.parameters)],
            cwd=ROOT,
            env=os.environ
            | self.variables
            | {"BINVENTORY_HOME": str(self.folder / home), "BINVENTORY_BUCKET": f"bucket-{home}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

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
def runs(tmp_path: Path) -> Iterator[Runs]:
    (tmp_path / "buckets").mkdir()
    with (
        prefect_test_harness(server_startup_timeout=120),
        serving_s3(tmp_path / "buckets") as variables,
        serving(tmp_path / "buckets", "--latency", "0.3", "--log", str(tmp_path / "gets.log")) as source,
    ):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            stage_demo_bucket("s3://the-source", photos=700, seed=3)
        parameters = {"source": "s3://the-source", "source_endpoint": source, "dataset": "killed"}
        file_list = tmp_path / "buckets/the-source/file_list.json"
        api = str(get_current_settings().api.url)
        yield Runs(
            tmp_path,
            variables | {"PREFECT_API_URL": api, "PREFECT_LOGGING_LEVEL": "CRITICAL"},
            parameters | {"file_list": str(file_list), "shard_size": 64},
        )


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(runs: Runs) -> None:
    chance = random.Random(11)
    fetched_twice: list[str] = []
    log, seen = runs.folder / "gets.log", 0
    done: set[str] = set()
    for _ in range(KILLS):
        with runs.start("killed") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            time.sleep(chance.uniform(0, LONGEST_WAIT))
            process.kill()
        gets = log.read_text().split() if log.exists() else []
        fetched_twice += [key for key in gets[seen:] if key in done]
        seen = len(gets)
        done |= _kept(runs.folder / "killed/data/killed")
    result = runs.finish("killed")
    fetched_twice += [key for key in log.read_text().split()[seen:] if key in done]
    assert fetched_twice == []
    assert result["images"]["missing"] == result["images"]["corrupt"] == 0

    calm = runs.finish("calm")
    assert result["digest"] == calm["digest"]
    assert runs.results("killed") == runs.results("calm")


def _kept(folder: Path) -> set[str]:
    """The keys of everything that a killed run had fetched and kept."""
    photos = {f"bin-images/{path.stem}.jpg" for path in folder.glob("train_data/*/*.jpg")}
    journals = folder.glob("state/metadata/*.jsonl")
    lines = [line for path in journals for line in path.read_text().splitlines() if line.endswith("}")]
    folded = [pq.read_table(path, columns=["id"])["id"].to_pylist() for path in folder.glob("state/metadata/*.parquet")]
    ids = {json.loads(line)["id"] for line in lines}.union(*folded)
    return photos | {f"metadata/{photo_id}.json" for photo_id in ids}
