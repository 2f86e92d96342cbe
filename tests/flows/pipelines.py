"""The full pipeline at its smallest, what it leaves, and killing it at random moments."""

import hashlib
import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Count
from tests.forking import Commands, Forked
from tests.installation import Installation

Process = subprocess.Popen[str] | Forked

SMALL = (
    "--demo-photos=160",
    "--image-size=48",
    "--trials=2",
    "--tuning-epochs=1",
    "--epochs=1",
    "--smoke-photos=5",
    "--night-photos=10",
)
ON_THE_WAY = (
    "",
    "Beginning flow run",
    "Beginning subflow run 'prepare",
    "Task run 'list of",
    "Task run 'photos 1",
    "Task run 'catalog and split",
    "Task run 'shards",
    "Task run 'upload 1",
    "Task run 'seal",
    "Task run 'stage weights",
    "Task run 'tune' - trial",
    "Task run 'tune' - Finished",
    "Task run 'train' - Training on",
    "Task run 'train' - Finished",
    "Beginning subflow run 'evaluate'",
    "Task run 'evaluate' - Finished",
    "Task run 'package model' - Finished",
    "Beginning subflow run 'deploy",
    "Task run 'configure",
    "Task run 'deploy binventory' - Finished",
    "Task run 'smoke test' - Finished",
    "Task run 'hold back",
    "Task run 'find model' - Finished",
    "Task run 'count chunk 1' - Finished",
)
"""Lines that a run prints one after another; one that is resumed leaves out those of stages that are done."""

STAGES = ["prepare", "tune", "train", "debug", "evaluate", "register", "deploy", "night"]
_TOLD = ("status", "reason", "expected", "products", "count", "confidence", "out_of_range", "probabilities", "verdict")
_JUDGED = ("verdict_reason", "mismatch", "size", "score")


def kill_at_random(
    commands: Installation | Commands, kills: int, seed: int, arguments: Sequence[str] = SMALL
) -> list[str]:
    """Start the pipeline, kill it, resume it, kill it, and so on; returns what was printed by all of them.

    A moment is a line that is printed on the way, and up to three seconds after that, so that slow machines are killed
    at the same places. Without a line, it is somewhere in the ten seconds in which services start.
    """
    chance = random.Random(seed)
    printed: list[str] = []
    for number, place in enumerate(sorted(chance.choices(range(len(ON_THE_WAY)), k=kills)), 1):
        process = start(commands, arguments)
        seen = _read_up_to(process, place)
        seconds = chance.uniform(0, 3 if place else 10)
        if place == len(ON_THE_WAY) - 1:
            seconds = min(seconds, 0.3)  # the run's end is near, and what has ended cannot be resumed
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        seen += process.communicate()[0].splitlines()
        print(
            f"kill {number} (seed {seed}): {seconds:.2f} s after {ON_THE_WAY[place]!r}; last: {seen[-1:]}", flush=True
        )
        printed += seen
        assert process.returncode == -signal.SIGKILL, "\n".join(printed)
    return printed


def start(commands: Installation | Commands, arguments: Sequence[str] = SMALL) -> Process:
    """Start the pipeline with these arguments, or resume what was killed."""
    begun = any((commands.home / "runs").glob("*-*/run.json"))
    return commands.start("flows.full_pipeline", *(("--resume",) if begun else arguments))


def _read_up_to(process: Process, place: int) -> list[str]:
    """Read lines until one of this place, or of a later one where that was done before."""
    assert process.stdout
    found: list[str] = []
    while place and not any(text in line for text in ON_THE_WAY[place:] for line in found[-1:]):
        line = process.stdout.readline()
        assert line, "\n".join(["it ended by itself", *found])
        found.append(line.rstrip("\n"))
    return found


def finish(commands: Installation | Commands) -> str:
    """Run, or resume, to the end; returns what was printed."""
    process = start(commands)
    said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    return said


def check_quiet(said: str) -> None:
    """No line of a run that nothing disturbed is a warning or an error: neither of Prefect's log nor of Python's."""
    assert [line for line in said.splitlines() if re.search("warning|error|traceback", line, re.IGNORECASE)] == []


def results(installation: Installation, unpack: Path) -> dict[str, Any]:
    """What a finished run has come to, without its id, its times and its speed.

    The weights of the registered model and its card, the split of every photo, and the ledger by photo.
    """
    [folder] = (installation.home / "localcloud" / "s3" / "binventory" / "models").iterdir()
    shutil.rmtree(unpack, ignore_errors=True)
    with tarfile.open(folder / "model.tar.gz") as archive:
        archive.extractall(unpack, filter="data")
    card = json.loads((unpack / "model.json").read_text())
    for own in ("version", "phases"):
        del card[own]
    del card["hyperparameters"]["version"]  # it is the run's id
    manifest = json.loads((installation.home / "data" / "demo" / "manifest.json").read_text())
    ledger = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{installation.home / 'ledger.db'}")))
    return {
        "weights": hashlib.sha256((unpack / "model.pth").read_bytes()).hexdigest(),
        "card": card,
        "split": manifest["split"],
        "photos": {entry["key"]: entry["sha256"] for entry in manifest["photos"]},
        "ledger": {
            row.photo_id: {name: row._mapping[name] for name in (*_TOLD, *_JUDGED)} for row in ledger.rows(Count)
        },
        "rows": ledger.size(),
    }


def check_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Both runs came to the same.

    The ledger's probabilities may differ in the last of six digits: which photos share a batch is a matter of time.
    """
    ledgers = one.pop("ledger"), other.pop("ledger")
    assert one == other
    assert ledgers[0].keys() == ledgers[1].keys()
    for photo, row in ledgers[0].items():
        for name, value in row.items():
            beside = ledgers[1][photo][name]
            exact = not isinstance(value, float | dict)
            assert (value if exact else pytest.approx(value, abs=1e-5)) == beside, f"{name} of {photo}"


def jobs(installation: Installation) -> list[str]:
    """Names of all jobs, without the run's id and the digests in them."""
    client = installation.client("sagemaker")
    training = client.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]
    tuning = client.list_hyper_parameter_tuning_jobs(MaxResults=100)["HyperParameterTuningJobSummaries"]
    transform = client.list_transform_jobs(MaxResults=100)["TransformJobSummaries"]
    names = [job["TrainingJobName"] for job in training]
    names += [job["HyperParameterTuningJobName"] for job in tuning]
    names += [job["TransformJobName"] for job in transform]
    return sorted("-".join(part for part in name.split("-")[2:] if len(part) != 8) for name in names)


def flow_runs(installation: Installation) -> list[str]:
    """States of all flow runs, as Prefect has them in its own database."""
    with sqlite3.connect(f"file:{installation.home}/prefect/prefect.db?mode=ro", uri=True) as database:
        return [state for (state,) in database.execute("SELECT DISTINCT state_type FROM flow_run ORDER BY 1")]


def left_serving(installation: Installation) -> dict[str, list[str]]:
    """Endpoints, and their configurations."""
    client = installation.client("sagemaker")
    return {
        "endpoints": [each["EndpointName"] for each in client.list_endpoints()["Endpoints"]],
        "configurations": [each["EndpointConfigName"] for each in client.list_endpoint_configs()["EndpointConfigs"]],
        "models": [each["ModelName"] for each in client.list_models()["Models"]],
        "packages": [
            each["ModelPackageArn"]
            for each in client.list_model_packages(ModelPackageGroupName="binventory")["ModelPackageSummaryList"]
        ],
    }
