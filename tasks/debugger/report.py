"""One self-contained page about a debugged job."""

import base64
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smdebug.exceptions import SMDebugError

from tasks.debugger import charts
from tasks.debugger.evaluate import CLEAR, ERROR, FIRED, NO_DATA, Verdict
from tasks.debugger.profile import Profile
from tasks.debugger.rules.base import EVAL, TRAIN
from tasks.pages import render

OLD_SYSTEM_IDLE = 0.676
"""Share of the old system's training job that was spent in neither TRAIN nor EVAL; see docs/debugger.md."""

TEMPLATE = Path(__file__).with_name("report.html.j2")
SECONDS = {"train": "TRAIN", "eval": "EVAL", "data": "DATA", "other": "OTHER"}


@dataclasses.dataclass(frozen=True)
class JobFacts:
    """What the service knows of a job.

    Attributes:
        phases: seconds of the job by phase; empty where it did not get so far.
        hyperparameters: the script's.
    """

    name: str
    status: str
    seconds: int = 0
    instance: str = ""
    failure: str = ""
    phases: Mapping[str, float] = dataclasses.field(default_factory=dict)
    hyperparameters: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def idle(self) -> float | None:
        """Share of the job's time outside TRAIN and EVAL."""
        total = sum(self.phases.values())
        return 1 - (self.phases["train"] + self.phases["eval"]) / total if total else None


@dataclasses.dataclass(frozen=True)
class Report:
    """A page, and its pictures by name."""

    page: str
    pictures: dict[str, str]


def make_report(
    facts: JobFacts, verdicts: list[Verdict], trial: Any | None, profile: Profile | None, problems: list[str]
) -> Report:
    """Draw and write; what there are no records of is left out."""
    pictures = {name: svg for name, svg in _pictures(facts, trial, profile).items() if svg}
    page = render(
        TEMPLATE,
        facts=facts,
        verdicts=verdicts,
        counts={status: sum(v.status == status for v in verdicts) for status in (FIRED, CLEAR, NO_DATA, ERROR)},
        pictures=pictures,
        problems=problems,
        old_idle=OLD_SYSTEM_IDLE,
        steps=_step_times(profile),
        saved=_saved(trial),
    )
    return Report(page, pictures)


def data_uri(svg: str) -> str:
    """A picture as Prefect's UI shows it without asking any server."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _pictures(facts: JobFacts, trial: Any | None, profile: Profile | None) -> dict[str, str]:
    found = {"phases": charts.bar({SECONDS[name]: value for name, value in facts.phases.items()})}
    if trial is not None:
        found["losses"] = charts.line_chart(losses(trial), "step of training", "loss")
        gradients = _per_layer(trial, "gradients", "gradient/", "mean", absolute=True)
        found["gradients"] = charts.heat_map(gradients, 1e-7, 1.0, "mean absolute gradient")
        found["updates"] = charts.heat_map(
            _per_layer(trial, "updates", "update/"), 1e-8, 1.0, "update as a share of the weights"
        )
    if profile:
        parts = {name: value for name, value in _parts(profile).items() if value > 0}
        found["parts"] = charts.bar(parts)
        found["steps"] = charts.histogram([1000 * s for _, s in profile.step_seconds("train")], "training step, ms")
        found["machine"] = charts.line_chart(_machine(profile), "seconds", "percent", low=0, high=100)
        found["traffic"] = charts.line_chart(_traffic(profile), "seconds", "MB a second", low=0)
    return found


def losses(trial: Any) -> dict[str, list[tuple[float, float]]]:
    """Loss by step: of training, and of validation as the mean of each pass, where training stood."""
    name = next((n for n in trial.tensor_names(collection="losses")), None)
    if name is None:
        return {}
    tensor, train = trial.tensor(name), list[tuple[float, float]]()
    passes: dict[float, list[float]] = {}
    done = 0.0
    for step in trial.steps():
        mode, at = trial.mode_modestep(step)
        try:
            value = float(tensor.value(at, mode=mode).mean())
        except SMDebugError:
            continue
        if mode is TRAIN:
            done = float(at)
            train.append((done, value))
        elif mode is EVAL:
            passes.setdefault(float(step - at), []).append(value)
    valid = [(done, sum(values) / len(values)) for done, values in passes.items()]
    smooth = [
        (x, sum(y for _, y in train[max(0, n - 4) : n + 1]) / len(train[max(0, n - 4) : n + 1]))
        for n, (x, _) in enumerate(train)
    ]
    return {"training, mean of 5": smooth, "validation": valid}


def _per_layer(
    trial: Any, collection: str, prefix: str, reduction: str = "", *, absolute: bool = False
) -> dict[str, Any]:
    rows: dict[str, list[tuple[float, float]]] = {}
    for step in trial.steps(mode=TRAIN):
        for name in trial.tensor_names(step=step, mode=TRAIN, collection=collection):
            if not name.endswith("weight"):
                continue
            tensor = trial.tensor(name)
            value = (
                tensor.reduction_value(step, reduction, mode=TRAIN, abs=absolute)
                if reduction
                else tensor.value(step, mode=TRAIN)
            )
            rows.setdefault(name.removeprefix(prefix).partition("_")[2].removesuffix(".weight"), []).append(
                (step, float(value))
            )
    if collection == "gradients" and (updates := _matrices(trial)):
        rows = {name: values for name, values in rows.items() if name in updates}  # normalisations are not layers
    return dict(sorted(rows.items(), key=lambda row: [part.zfill(4) for part in re.split(r"(\d+)", row[0])]))


def _matrices(trial: Any) -> set[str]:
    names = trial.tensor_names(collection="updates")
    return {name.removeprefix("update/").partition("_")[2].removesuffix(".weight") for name in names}


def _parts(profile: Profile) -> dict[str, float]:
    told = {"batch ready": "DataIterator-train", "forward": "Forward-train", "backward and update": "Backward-train"}
    seconds = {**profile.seconds_by("DataIterator"), **profile.seconds_by("Forward"), **profile.seconds_by("Backward")}
    found = {name: seconds.get(operation, 0.0) for name, operation in told.items()}
    return found | {"validation": sum(value for _, value in profile.step_seconds("eval"))}


def _relative(values: list[tuple[float, float]], start: float, scale: float = 1.0) -> list[tuple[float, float]]:
    return [(at - start, value * scale) for at, value in values]


def _machine(profile: Profile) -> dict[str, list[tuple[float, float]]]:
    cores = profile.of("cpu", "CPUUtilization")
    if not cores:
        return {}
    times = [at for at, _ in next(iter(cores.values()))]
    found = {
        "processors": [(at - times[0], v) for at, v in zip(times, profile.mean("cpu", "CPUUtilization"), strict=False)]
    }
    for name, kind, dimension in (
        ("memory", "memory", "MemoryUsedPercent"),
        ("waiting for disk", "i/o", "I/OWaitPercentage"),
        ("GPU", "gpu", "GPUUtilization"),
        ("GPU memory", "gpu", "GPUMemoryUtilization"),
    ):
        values = profile.mean(kind, dimension)
        if values:
            found[name] = [(at - times[0], v) for at, v in zip(times, values, strict=False)]
    return found


def _traffic(profile: Profile) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for name, kind, dimension in (
        ("disk read", "disk", "ReadBytesPerSecond"),
        ("disk written", "disk", "WriteBytesPerSecond"),
        ("received", "network", "ReceiveBytesPerSecond"),
        ("sent", "network", "TransmitBytesPerSecond"),
    ):
        for values in profile.of(kind, dimension).values():
            found[name] = _relative(values, values[0][0], 1e-6)
    return found


def _step_times(profile: Profile | None) -> dict[str, dict[str, float]]:
    """Percentiles of step times in milliseconds, by mode."""
    table = {}
    for mode in ("train", "eval") if profile else ():
        seconds = sorted(value for _, value in profile.step_seconds(mode)) if profile else []
        if seconds:
            at = {f"p{p}": 1000 * seconds[min(len(seconds) - 1, int(len(seconds) * p / 100))] for p in (50, 90, 99)}
            table[mode] = {"steps": float(len(seconds)), **at, "longest": 1000 * seconds[-1]}
    return table


def _saved(trial: Any | None) -> dict[str, int]:
    if trial is None:
        return {}
    steps = {"training": len(trial.steps(mode=TRAIN)), "validation": len(trial.steps(mode=EVAL))}
    return steps | {"tensors": len(trial.tensor_names())}
