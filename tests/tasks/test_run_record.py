"""A run remembers what it did, and a dead one is picked up by the next start."""

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest
from pydantic import BaseModel

from tasks.pipeline.earlier_runs import find_donor
from tasks.run_record import Run, digest_of
from tasks.runs import open_run, pick_up, run_folders, run_of
from tasks.settings import Settings
from training.errors import HomeError, RunError

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


def test_a_disk_that_fills_is_said_to_be_full_and_the_run_goes_on_later(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(run: Run) -> None:
        monkeypatch.setattr("tasks.home.write_atomically", full)
        run.record(images={"listed": 3})

    with pytest.raises(HomeError, match="is full"), run_of(here, "flow", Parameters()) as first:
        fill(first)
    monkeypatch.undo()
    with run_of(here, "flow", Parameters()) as second:
        assert second.run_id == first.run_id


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


def test_a_partial_run_is_over_and_the_next_start_is_a_run_of_its_own(here: Settings) -> None:
    with pytest.raises(RunError), run_of(here, "flow", Parameters(), partial=RunError) as first:
        raise RunError("all but one")
    with pytest.raises(ValueError), run_of(here, "flow", Parameters(), partial=RunError) as second:  # noqa: PT011
        raise ValueError
    assert second.run_id != first.run_id
    with pytest.raises(RunError, match="is over"):
        pick_up(here, "flow", first.run_id)
    with run_of(here, "flow", Parameters(), partial=RunError) as third:
        assert third.run_id == second.run_id


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
        "from tasks.runs import open_run; from tasks.settings import Settings\n"
        "from tests.tasks.test_run_record import Parameters\n"
        f"run = open_run(Settings(home=Path({str(here.home)!r})), 'flow', Parameters())\n"
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


def failed_after(here: Settings, *stages: str, limit: int) -> Run:
    """A run that failed when it had done these stages."""
    run = open_run(here, "flow", Parameters(limit=limit))
    run.record(source="demo")
    for stage in stages:
        run.do(stage, lambda: Parameters(limit=7))
    run.finish("failed")
    return run


def test_a_run_is_resumed_with_its_own_parameters(here: Settings) -> None:
    failed = failed_after(here, "prepare", limit=3)
    with run_of(here, "flow", Parameters(), resume="newest") as resumed:
        assert resumed.run_id == failed.run_id
        assert resumed.parameters(Parameters).limit == 3
        resumed.do("prepare", lambda: pytest.fail("a stage that is done was done again"))
        assert resumed.result("prepare", Parameters).limit == 7


@pytest.mark.parametrize(
    ("run_id", "flow", "said"),
    [
        ("newest", "flow", "No run of flow waits"),
        ("first", "flow", "is over"),
        ("first", "other", "no run .* of other"),
        ("260101-000000", "flow", "no run 260101-000000"),
    ],
)
def test_what_cannot_be_resumed_is_said(here: Settings, run_id: str, flow: str, said: str) -> None:
    with run_of(here, "flow", Parameters()) as first:
        pass
    with pytest.raises(RunError, match=said):
        pick_up(here, flow, run_id.replace("first", first.run_id))
    with run_of(here, "flow", Parameters()) as live, pytest.raises(RunError, match="under way"):
        pick_up(here, "flow", live.run_id)


@pytest.mark.parametrize(
    ("setting", "value"), [("bucket", "bucket-b"), ("region", "eu-west-1"), ("model_group", "two"), ("target", "aws")]
)
def test_a_run_is_gone_on_with_only_where_it_was_begun(here: Settings, setting: str, value: str) -> None:
    begun = failed_after(here, "prepare", limit=3)
    moved = here.model_copy(update={setting: value})
    variable = f"BINVENTORY_{setting.upper()}={getattr(here, setting)}"
    with pytest.raises(RunError, match=f"was begun with {variable}: set that"):
        pick_up(moved, "flow", begun.run_id)
    with pytest.raises(RunError, match="No run of flow waits"):
        pick_up(moved, "flow", "newest")
    fresh = open_run(moved, "flow", Parameters(limit=3))
    assert fresh.run_id != begun.run_id
    fresh.finish("completed")
    assert open_run(here, "flow", Parameters(limit=3)).run_id == begun.run_id


def test_a_run_of_a_version_that_kept_its_target_only_can_be_gone_on_with(here: Settings) -> None:
    begun = failed_after(here, "prepare", limit=3)
    file = begun.folder / "run.json"
    kept = json.loads(file.read_text())
    assert (kept.pop("bucket"), kept.pop("region"), kept.pop("model_group")) == (
        "binventory",
        "us-east-1",
        "binventory",
    )
    file.write_text(json.dumps(kept))
    assert open_run(here, "flow", Parameters(limit=3)).run_id == begun.run_id


def test_a_flow_within_another_works_in_its_run_or_in_a_part_of_it(here: Settings) -> None:
    ended: list[str] = []
    with run_of(here, "outer", Parameters(), ending=lambda run: ended.append(run.run_id)) as outer:
        with run_of(here, "inner", Parameters(), ending=lambda run: pytest.fail("it is not over")) as same:
            assert same is outer
        with run_of(here, "night", Parameters(), part="night") as part, part.stage("find"):
            pass
        assert (part.run_id, part.folder) == (outer.run_id, outer.folder / "night")
        assert outer.summary["stages"] == {}
    assert ended == [outer.run_id]
    assert (here.runs / "latest").resolve() == outer.folder.resolve()


def test_the_newest_run_that_has_every_stage_is_gone_on_from(here: Settings) -> None:
    whole = failed_after(here, "prepare", "train", limit=1)
    newer = failed_after(here, "prepare", limit=2)
    assert find_donor(here, ["prepare", "train"], None, {"source": "demo"}).name == whole.run_id
    assert find_donor(here, ["prepare"], None, {}).name == newer.run_id
    assert find_donor(here, ["prepare"], whole.run_id, {}).name == whole.run_id
    with pytest.raises(RunError, match=f"run {newer.run_id} of target local lacks tune and evaluate"):
        find_donor(here, ["prepare", "tune", "evaluate"], None, {})
    with pytest.raises(RunError, match="there is no run of target local, source abid"):
        find_donor(here, ["prepare"], None, {"source": "abid"})
    with run_of(here, "other", Parameters()) as run:
        run.take_from(here.runs / whole.run_id, ["train"])
        assert run.result("train", Parameters).limit == 7
        assert run.summary["taken"] == {"run_id": whole.run_id, "stages": ["train"]}
        assert run.summary["source"] == "demo"


def test_a_run_that_was_begun_elsewhere_is_not_gone_on_from(here: Settings) -> None:
    donor = failed_after(here, "prepare", "register", limit=1)
    for name, value in (("bucket", "another"), ("region", "eu-west-1")):
        with pytest.raises(
            RunError, match=rf"{donor.run_id} of target local was begun with BINVENTORY_{name.upper()}="
        ):
            find_donor(here.model_copy(update={name: value}), ["prepare"], None, {})
    another_group = here.model_copy(update={"model_group": "another"})
    assert find_donor(another_group, ["prepare"], None, {}).name == donor.run_id  # registers there what this one has
    with pytest.raises(RunError, match="BINVENTORY_MODEL_GROUP=binventory: set that"):
        find_donor(another_group, ["prepare", "register"], donor.run_id, {})


def test_a_run_that_could_do_nothing_is_not_begun_and_one_that_waits_is_not_asked_again(here: Settings) -> None:
    waiting = failed_after(here, "prepare", limit=1)

    def refuse() -> None:
        raise RunError("nothing to go on from")

    with (
        pytest.raises(RunError, match="nothing to go on from"),
        run_of(here, "flow", Parameters(limit=2), check=refuse),
    ):
        pytest.fail("it began")
    assert [folder.name for folder in run_folders(here)] == [waiting.run_id]
    assert (here.runs / "latest").resolve() == waiting.folder.resolve()
    with run_of(here, "flow", Parameters(limit=1), check=refuse) as again:
        assert again.run_id == waiting.run_id


def test_a_damaged_state_file_does_not_stop_new_runs(here: Settings) -> None:
    broken = here.runs / "260101-000000"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{")
    assert open_run(here, "flow", Parameters()).run_id != broken.name


def test_digests_do_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
