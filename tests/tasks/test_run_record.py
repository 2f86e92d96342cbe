"""A run remembers what it did, and a dead one is picked up by the next start."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from tasks.run_record import Run, digest_of, run_of
from tasks.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


class Parameters(BaseModel):
    limit: int = 10


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_a_completed_run_is_not_picked_up_again(here: Settings) -> None:
    with run_of(here, "flow", Parameters()) as first:
        first.record(images={"listed": 3})
    with run_of(here, "flow", Parameters()) as second:
        assert second.run_id != first.run_id
        assert "images" not in second.summary
    summary = json.loads((here.runs / first.run_id / "summary.json").read_text())
    assert summary["images"] == {"listed": 3}
    assert summary["target"] == "local"
    assert (here.runs / "latest").resolve().name == second.run_id


def test_a_failed_run_goes_on_with_what_it_knew(here: Settings) -> None:
    def fail(run: Run) -> None:
        with run.stage("prepare"):
            time.sleep(0.02)
        run.record(images={"listed": 3})
        raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"), run_of(here, "flow", Parameters()) as first:
        fail(first)
    with run_of(here, "flow", Parameters()) as second:
        assert second.run_id == first.run_id
        assert second.resumed
        with second.stage("prepare"):
            time.sleep(0.02)
    assert second.summary["images"] == {"listed": 3}
    assert second.summary["stages"]["prepare"] >= 0.04
    assert second.summary["seconds"] == second.summary["stages"]["prepare"]


@pytest.mark.parametrize(
    ("flow", "parameters"), [("other", Parameters()), ("flow", Parameters(limit=11))], ids=["flow", "parameters"]
)
def test_another_flow_or_other_parameters_are_another_run(here: Settings, flow: str, parameters: Parameters) -> None:
    with pytest.raises(RuntimeError), run_of(here, "flow", Parameters()) as first:
        raise RuntimeError
    with run_of(here, flow, parameters) as second:
        assert second.run_id != first.run_id


def test_a_killed_run_is_picked_up_and_a_live_one_is_left_alone(here: Settings) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from tasks.run_record import Run; from tasks.settings import Settings\n"
        "from tests.tasks.test_run_record import Parameters\n"
        f"run = Run.open(Settings(home=Path({str(here.home)!r})), 'flow', Parameters())\n"
        "print(run.run_id, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        run_id = process.stdout.readline().strip()
        with run_of(here, "flow", Parameters()) as beside:
            assert beside.run_id != run_id
        process.send_signal(signal.SIGKILL)
        process.wait()
    with run_of(here, "flow", Parameters()) as resumed:
        assert resumed.run_id == run_id


def test_a_damaged_state_file_does_not_stop_new_runs(here: Settings) -> None:
    broken = here.runs / "260101-000000"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{")
    assert Run.open(here, "flow", Parameters()).run_id != broken.name


def test_digests_do_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
