"""Rules on the profile, on profiles with one fault planted, written in SageMaker's layout."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tasks.debugger.evaluate import CLEAR, FIRED, NO_DATA, PROFILE_RULES, judge
from tasks.debugger.profile import Profile
from training.debugger.timeline import Timeline

MINUTE = 1_795_619_640
SAMPLES = 120
QUICK = {name: {"patience": 0} for name in PROFILE_RULES if name != "StepOutlier"}
WINDOWED = {"LowGPUUtilization": {"patience": 0, "window": 40}, "BatchSize": {"patience": 0, "window": 40}}
RULES = {**QUICK, **WINDOWED, "StepOutlier": {"n_outliers": 2}}

Level = Callable[[int], float]
BUSY: dict[str, Level] = {
    "cpu/cpu0/CPUUtilization": lambda n: 60,
    "i/o/i/o/I/OWaitPercentage": lambda n: 2,
    "gpu/gpu0/GPUUtilization": lambda n: 90 + n % 5,
    "gpu/gpu1/GPUUtilization": lambda n: 92 - n % 5,
    "gpu/gpu0/GPUMemoryUtilization": lambda n: 80,
    "gpu/gpu1/GPUMemoryUtilization": lambda n: 80,
}
PARTS = {"cpu": "cpu", "i": "i/o", "gpu": "gpu", "memory": "memory", "disk": "disk", "network": "network"}


def write(folder: Path, levels: Mapping[str, Level], slow_steps: int = 0) -> Profile:
    file = folder / "system" / "incremental" / "2026112515" / f"{MINUTE}.algo-1.json"
    file.parent.mkdir(parents=True)
    lines = []
    for number in range(SAMPLES):
        for key, level in (BUSY | dict(levels)).items():
            kind = PARTS[key.split("/")[0]]
            name, dimension = ("i/o", "I/OWaitPercentage") if kind == "i/o" else key.split("/")[1:]
            told = {"Type": kind, "Name": name, "Dimension": dimension, "Value": level(number), "NodeId": "algo-1"}
            lines.append(json.dumps(told | {"Timestamp": MINUTE + number / 2}))
    file.write_text("\n".join(lines) + "\n")
    timeline = Timeline(folder)
    now = time.time()
    for step in range(60):
        seconds = 1.0 if step < slow_steps else 0.1 + 0.001 * (step % 7)
        told = {"step_num": str(step)}
        timeline._add("Step:ModeKeys.TRAIN", "Step:ModeKeys.TRAIN", now, now + seconds, told)
        for part, (begins, ends) in {"DataIterator": (0, 0.1), "Forward": (0.1, 0.4), "Backward": (0.4, 1)}.items():
            timeline._add(part, f"{part}-train", now + begins * seconds, now + ends * seconds, told)
        now += seconds
    timeline.flush()
    return Profile(folder)


PLANTED: dict[str, dict[str, Level]] = {
    "CPUBottleneck": {
        "cpu/cpu0/CPUUtilization": lambda n: 97 if n % 5 else 60,
        "gpu/gpu0/GPUUtilization": lambda n: 5 if n % 5 else 90,
        "gpu/gpu1/GPUUtilization": lambda n: 5 if n % 5 else 90,
    },
    "IOBottleneck": {
        "i/o/i/o/I/OWaitPercentage": lambda n: 80 if n % 5 else 2,
        "gpu/gpu0/GPUUtilization": lambda n: 5 if n % 5 else 90,
        "gpu/gpu1/GPUUtilization": lambda n: 5 if n % 5 else 90,
    },
    "LowGPUUtilization": {key: lambda n: 40 for key in BUSY if key.endswith("/GPUUtilization")},
    "GPUMemoryIncrease": {key: lambda n: 50 + n / 4 for key in BUSY if "Memory" in key},
    "BatchSize": {key: lambda n: 40 for key in BUSY if not key.startswith("i")},
    "LoadBalancing": {"gpu/gpu1/GPUUtilization": lambda n: 11 + 69 * (n % 40 == 0 or n % 40 > 30)},
}
TOGETHER = {rule: {"LowGPUUtilization"} for rule in ("CPUBottleneck", "IOBottleneck", "BatchSize")}
"""A GPU that waits, or is too large for its batches, is a GPU that is hardly used: these come in pairs."""


@pytest.mark.parametrize("rule", PLANTED)
def test_a_planted_fault_fires_its_rule(rule: str, tmp_path: Path) -> None:
    found = judge(None, write(tmp_path, PLANTED[rule]), RULES)
    fired = {verdict.rule for verdict in found if verdict.status == FIRED}
    assert rule in fired
    assert fired - {rule} <= TOGETHER.get(rule, set()), [str(v.findings[0]) for v in found if v.findings]


def test_every_rule_has_a_fault_planted() -> None:
    assert {*PLANTED, "StepOutlier"} == PROFILE_RULES.keys()


def test_slow_steps_are_outliers(tmp_path: Path) -> None:
    found = {v.rule: v for v in judge(None, write(tmp_path, {}, slow_steps=3), RULES)}
    assert {name for name, verdict in found.items() if verdict.status == FIRED} == {"StepOutlier"}
    assert [finding.step for finding in found["StepOutlier"].findings] == [0, 1, 2]


def test_a_busy_machine_fires_none(tmp_path: Path) -> None:
    assert {v.status for v in judge(None, write(tmp_path, {}), RULES)} == {CLEAR}


def test_without_a_gpu_there_is_nothing_to_judge(tmp_path: Path) -> None:
    profile = write(tmp_path, {})
    profile.series = {key: values for key, values in profile.series.items() if "gpu" not in key}
    found = {v.rule: v for v in judge(None, profile, RULES)}
    assert found["BatchSize"].status == NO_DATA
    assert found["BatchSize"].reason == "the job had no GPU"
    assert found["StepOutlier"].status == CLEAR


def test_a_job_too_short_to_be_judged_is_not_called_clear(tmp_path: Path) -> None:
    profile = write(tmp_path, {})
    found = {v.rule: v for v in judge(None, profile) if v.rule in PROFILE_RULES}
    assert found.pop("StepOutlier").status == CLEAR
    assert {v.status for v in found.values()} == {NO_DATA}
    told = "the job left 120 samples of the machine; the first patience = 1000 are not judged"
    assert found["CPUBottleneck"].reason == told
    assert found["BatchSize"].reason == f"{told}, and the others do not fill windows of window = 500"
    profile.series = {key: values for key, values in profile.series.items() if "gpu1" not in key}
    [alone] = judge(None, profile, {"LoadBalancing": {"patience": 0}})
    assert (alone.status, alone.reason) == (NO_DATA, "the job had one GPU")


def test_a_step_done_twice_counts_once(tmp_path: Path) -> None:
    timeline, now = Timeline(tmp_path), time.time()
    for step, seconds in ((0, 1.0), (1, 2.0), (1, 3.0)):  # as after an interruption
        timeline._add("Forward", "Forward-train", now, now + seconds, {"step_num": str(step)})
        now += seconds
    for _ in range(2):
        timeline._add("Initialization", "Initialization", now, now + 5)
    timeline.flush()
    profile = Profile(tmp_path)
    assert profile.seconds_by("Forward") == pytest.approx({"Forward-train": 4.0}, abs=0.001)
    assert profile.seconds_by("Initialization") == pytest.approx({"Initialization": 10.0}, abs=0.001)


def test_a_part_of_a_gpu_is_not_called_none(tmp_path: Path) -> None:
    profile = write(tmp_path, {})
    profile.series = {key: values for key, values in profile.series.items() if not key.endswith("/GPUUtilization")}
    [found] = judge(None, profile, {"LowGPUUtilization": {}})
    assert found.status == NO_DATA
    assert "does not tell its utilisation" in found.reason
