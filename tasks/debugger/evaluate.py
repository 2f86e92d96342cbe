"""Rules by name, with their parameters checked, run over a job's records."""

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any

from tasks.debugger.profile import Profile
from tasks.debugger.rules import answers, losses, system, weights
from tasks.debugger.rules.base import TRAIN, Finding
from training.errors import DebuggerError

TENSOR_RULES: dict[str, Any] = {
    rule.__name__: rule
    for rule in (
        losses.LossNotDecreasing,
        losses.Overfit,
        losses.Overtraining,
        weights.PoorWeightInitialization,
        weights.VanishingGradient,
        weights.ExplodingTensor,
        weights.WeightUpdateRatio,
        answers.DeadRelu,
        answers.SaturatedActivation,
        answers.ClassImbalance,
    )
}
PROFILE_RULES: dict[str, Any] = {
    rule.__name__: rule
    for rule in (
        system.CPUBottleneck,
        system.IOBottleneck,
        system.LowGPUUtilization,
        system.GPUMemoryIncrease,
        system.StepOutlier,
        system.BatchSize,
        system.LoadBalancing,
    )
}
RULES = TENSOR_RULES | PROFILE_RULES
FIRED, CLEAR, ERROR, NO_DATA = "IssuesFound", "NoIssuesFound", "Error", "NotEvaluated"
GPU_MEMORY = "GPUMemoryUtilization"
SIZES = ("num_steps", "samples", "steps", "window")
"""Parameters that say how much is looked at together: at least one."""

BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
SHOWN = 200
WINDOWS = 6
"""Into how many parts LossNotDecreasing divides a training, where its ``num_steps`` is not given."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a rule came to.

    Attributes:
        rule: its name.
        status: as SageMaker words it; "NotEvaluated" where there was nothing recorded that could have made it fire.
        fired: how often it fired.
        findings: the first of them, at most 200.
        parameters: that it was given besides its defaults.
        advice: which setting to change.
        reason: of an error, or of no evaluation.
    """

    rule: str
    status: str
    about: str = ""
    fired: int = 0
    findings: tuple[Finding, ...] = ()
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    advice: str = ""
    reason: str = ""


def check(rules: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rules with their parameters as the types that they should be; SageMaker's API has them all as strings.

    Raises:
        DebuggerError: there is no such rule or parameter, or its value makes no sense.
    """
    return {name: _parameters(name, given) for name, given in rules.items()}


def _parameters(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if name not in RULES:
        raise DebuggerError(f"there is no rule {name!r}; there are {', '.join(sorted(RULES))}")
    known = {
        key: p for key, p in inspect.signature(RULES[name].__init__).parameters.items() if p.default is not p.empty
    }
    checked = {}
    for key, value in given.items():
        if key not in known:
            raise DebuggerError(f"the rule {name} has no parameter {key!r}; it has {', '.join(known)}")
        kind = type(known[key].default)
        try:
            checked[key] = BOOLEANS[str(value).lower()] if kind is bool else kind(value)
        except (TypeError, ValueError, KeyError) as error:
            raise DebuggerError(f"the rule {name}: {key} = {value!r} is not of type {kind.__name__}") from error
        if kind is int and checked[key] < (least := int(key in SIZES)):
            raise DebuggerError(
                f"the rule {name}: {key} = {value!r} makes no sense: give a whole number from {least} up"
            )
        if key.endswith("_regex"):
            _compile(name, key, str(checked[key]))
    RULES[name].check(checked)
    return checked


def _compile(name: str, key: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise DebuggerError(f"the rule {name}: {key} = {pattern!r} is not a regular expression: {error}") from error


def judge(
    trial: Any | None,
    profile: Profile | None,
    rules: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    running: bool = False,
) -> list[Verdict]:
    """Run rules over a trial of smdebug's and a profile; those that fired most come first.

    Args:
        trial: None where there are no tensors.
        profile: None where there is none.
        rules: parameters by name of rule; default: all of them, with AWS's defaults.
        running: more will be recorded, so that the last validation pass may lack its end.

    Raises:
        DebuggerError: there is no such rule or parameter.
    """
    checked = check(rules if rules is not None else {key: {} for key in RULES})
    verdicts = [_run(name, trial, profile, parameters, running) for name, parameters in checked.items()]
    order = {FIRED: 0, ERROR: 1, CLEAR: 2, NO_DATA: 3}
    return sorted(verdicts, key=lambda verdict: (order[verdict.status], -verdict.fired, verdict.rule))


def _run(name: str, trial: Any | None, profile: Profile | None, parameters: dict[str, Any], running: bool) -> Verdict:
    source, about = (trial if name in TENSOR_RULES else profile), str(RULES[name].__doc__).strip()
    told: dict[str, Any] = {"about": about, "parameters": parameters, "advice": RULES[name].advice}
    if reason := _missing(name, trial, profile):
        return Verdict(name, NO_DATA, reason=reason, **told)
    if name == "LossNotDecreasing" and "num_steps" not in parameters:
        parameters["num_steps"] = _window(trial)
    try:
        rule = RULES[name](source, **parameters)
        rule.running = running
        rule.run()
    except Exception as error:  # noqa: BLE001 - becomes the verdict; a rule that fails must not end a paid training
        return Verdict(name, ERROR, reason=f"{type(error).__name__}: {error}", **told)
    found = tuple(rule.findings)
    if not found and not rule.judged:
        return Verdict(name, NO_DATA, reason=rule.lacking, **told)
    return Verdict(name, FIRED if found else CLEAR, fired=len(found), findings=found[:SHOWN], **told)


def _missing(name: str, trial: Any | None, profile: Profile | None) -> str:
    if name in TENSOR_RULES:
        return "" if trial is not None and trial.steps() else "the job left no tensors"
    if not profile:
        return "the job left no profile"
    if name != "StepOutlier" and not profile.of("gpu", "GPUUtilization"):
        silent = "the job's GPU does not tell its utilisation, as a part of one (MIG) does not"
        return silent if profile.of("gpu", GPU_MEMORY) else "the job had no GPU"
    return ""


def _window(trial: Any) -> int:
    steps = trial.steps(mode=TRAIN)
    return max(10, (steps[-1] + 1) // WINDOWS) if steps else 10
