"""Drills: the full pipeline under everything that happens to it in a bad week. ``make drill`` runs them."""

import os
from pathlib import Path

import pytest

from tests.flows.pipelines import SMALL, STAGES, check_quiet, check_same, finish, kill_at_random, results
from tests.flows.test_full_pipeline import check_what_is_in_the_cloud
from tests.installation import Installation

KILLS = 10


@pytest.mark.drill
@pytest.mark.timeout(7200)
def test_killed_ten_times_it_ends_as_an_undisturbed_run(installation: Installation, tmp_path: Path) -> None:
    seed = int(os.environ.get("BINVENTORY_SEED", "1"))
    installation.environment |= {"BINVENTORY_SERVING_PRECISION": "float32"}
    installation.environment.pop("BINVENTORY_SEED", None)
    said = kill_at_random(installation, KILLS, seed)
    said += finish(installation).splitlines()
    assert "Traceback" not in "\n".join(said), "\n".join(said)
    summary = installation.summary()
    assert [folder.name for folder in (installation.home / "runs").glob("*-*")] == [summary["run_id"]]
    assert list(summary["stages"]) == STAGES
    assert installation.processes() == []
    installation.localcloud("up")
    check_what_is_in_the_cloud(installation)
    installation.localcloud("down")

    calm = Installation(tmp_path / "calm", BINVENTORY_SERVING_PRECISION="float32")
    finish(calm)
    check_same(results(calm, tmp_path / "model"), results(installation, tmp_path / "model"))


@pytest.mark.drill
@pytest.mark.timeout(7200)
def test_it_gets_through_throttling_failing_storage_and_an_interruption(installation: Installation) -> None:
    installation.run("tasks.services", "up")
    for fault in (("throttle", "40"), ("fail", "5"), ("s3-fail", "5"), ("interrupt-spot", "3")):
        installation.localcloud("faults", *fault)
    said = installation.run("flows.full_pipeline", *SMALL)
    assert "Traceback" not in said
    summary = installation.summary()
    assert list(summary["stages"]) == STAGES
    assert summary["splits"] == {"train": 86, "valid": 11, "test": 10, "grouped": True}
    assert summary["endpoint"]["smoke"]["equal"] == 5
    assert summary["night"]["equal"] == summary["night"]["counted"] == 10
    still_on = installation.localcloud("faults", "list")
    assert '"spot_interruptions": []' in still_on, "the interruption did not strike"
    assert '"refusals": []' in still_on
    assert '"fail_percent": 5' in still_on
    installation.localcloud("faults", "clear")
    check_what_is_in_the_cloud(installation)
    installation.run("tasks.services", "down")


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_without_a_word_it_tries_four_and_is_done_in_minutes(installation: Installation) -> None:
    """`make pipeline`; on a machine that is busy with other things it takes longer."""
    said = installation.run("flows.full_pipeline")
    check_quiet(said)
    summary = installation.summary()
    assert list(summary["stages"]) == STAGES
    assert summary["tuning"]["jobs"] == 4
    assert summary["seconds"] < 360
    assert installation.processes() == []
