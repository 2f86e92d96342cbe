"""Each planted fault fires its rule and no other; a healthy training fires none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tasks.debugger.evaluate import CLEAR, ERROR, FIRED, NO_DATA, TENSOR_RULES, check, judge
from tests.tasks.debugger.planted import network, record
from training.errors import DebuggerError


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMDEBUG_TRAINING_END_DELAY_REFRESH", "0")


def weight(model: nn.Module, layer: int) -> nn.Parameter:
    found = model.get_parameter(f"{layer}.weight")
    assert isinstance(found, nn.Parameter)
    return found


def healthy(folder: Path) -> Any:
    return record(folder)


def loss_stands_still(folder: Path) -> Any:
    train = [2.0 - 0.02 * min(step, 30) for step in range(60)]
    return record(folder, train=train, valid=[1.5] * 6)


def overfit(folder: Path) -> Any:
    train = [2.0 * 0.97**step for step in range(60)]
    return record(folder, train=train, valid=[1.9, 1.45, 1.1, 1.2, 1.3, 1.4])


def overtrained(folder: Path) -> Any:
    # It goes on improving, but by less than anybody would wait for.
    train = [1.0 if step < 10 else 0.5 * 0.9998**step for step in range(96)]
    return record(folder, train=train, valid=[1.0, *[0.5] * 11], passes=12, steps=8)


def badly_initialised(folder: Path) -> Any:
    # One layer is much larger than the others, and for its first steps the network gets nowhere.
    model = network()
    with torch.no_grad():
        weight(model, 2).mul_(6)
    train = [2.0, *[2.02] * 11, *[2.0 * 0.97**step for step in range(48)]]
    return record(folder, model, train=train, valid=[2.0, 1.8, 1.4, 1.0, 0.7, 0.5], lr=lambda step: 0.01)


def gradients_vanish(folder: Path) -> Any:
    # As where a loss is scaled for half precision, and the scale is too small.
    model = network()
    weight(model, 0).register_hook(lambda grad: grad * 1e-9)

    def scale_back(step: int, model: nn.Module) -> None:
        grad = weight(model, 0).grad
        assert grad is not None
        grad.mul_(1e9)

    return record(folder, model, meddle=scale_back)


def tensor_explodes(folder: Path) -> Any:
    model, seen = network(), [0]

    def infinite(grad: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        return grad * float("inf") if seen[0] == 21 else grad

    weight(model, 4).register_hook(infinite)
    return record(folder, model, meddle=lambda step, model: step != 20)  # a step that mixed precision would skip


def relu_dies(folder: Path) -> Any:
    model = network()
    with torch.no_grad():
        model.get_parameter("0.bias")[:36] = -100.0
    return record(folder, model)


def tanh_saturates(folder: Path) -> Any:
    model = network(nn.Tanh)
    with torch.no_grad():
        model.get_parameter("0.bias")[:36] = 50.0
    return record(folder, model)


def updates_are_huge(folder: Path) -> Any:
    def jump(step: int, model: nn.Module) -> None:
        if step == 10:
            with torch.no_grad():
                weight(model, 4).mul_(13)

    train = [2.0 * 0.98**step for step in range(60)]
    return record(folder, train=train, valid=[1.7, 1.4, 1.1, 0.9, 0.75, 0.65], lr=lambda step: 0.01, meddle=jump)


def one_class_only(folder: Path) -> Any:
    return record(folder, shares=(1, 0, 0, 0))


PLANTED: dict[str, Callable[[Path], Any]] = {
    "LossNotDecreasing": loss_stands_still,
    "Overfit": overfit,
    "Overtraining": overtrained,
    "PoorWeightInitialization": badly_initialised,
    "VanishingGradient": gradients_vanish,
    "ExplodingTensor": tensor_explodes,
    "DeadRelu": relu_dies,
    "SaturatedActivation": tanh_saturates,
    "WeightUpdateRatio": updates_are_huge,
    "ClassImbalance": one_class_only,
}


def statuses(trial: Any) -> dict[str, str]:
    verdicts = judge(trial, None, {key: {} for key in TENSOR_RULES})
    return {v.rule: v.status if v.status in (FIRED, CLEAR) else f"{v.status} {v.reason}" for v in verdicts}


@pytest.mark.parametrize("rule", PLANTED)
def test_a_planted_fault_fires_its_rule_and_no_other(rule: str, tmp_path: Path) -> None:
    trial = PLANTED[rule](tmp_path / "trial")
    found = judge(trial, None, {key: {} for key in TENSOR_RULES})
    absent = (
        "DeadRelu" if rule == "SaturatedActivation" else "SaturatedActivation"
    )  # no network has both kinds of layers
    assert {v.rule: v.status for v in found} == dict.fromkeys(TENSOR_RULES, CLEAR) | {absent: NO_DATA, rule: FIRED}, [
        str(f) for v in found for f in v.findings[:3]
    ]
    fired = found[0]
    assert fired.rule == rule
    assert fired.fired == len(fired.findings) > 0
    assert fired.advice
    assert all(finding.numbers and finding.tensor for finding in fired.findings)


def test_a_healthy_training_fires_none(tmp_path: Path) -> None:
    found = statuses(healthy(tmp_path / "trial"))
    absent = "NotEvaluated nothing was recorded of a tanh or sigmoid layer that matches .*tanh_input|.*sigmoid_input"
    assert found == dict.fromkeys(TENSOR_RULES, CLEAR) | {"SaturatedActivation": absent}


def test_what_had_nothing_to_judge_says_why(tmp_path: Path) -> None:
    short = record(tmp_path / "trial", passes=1, steps=4)
    found = {v.rule: v.reason for v in judge(short, None) if v.rule in TENSOR_RULES and v.status == NO_DATA}
    assert found == {
        "ClassImbalance": "the job recorded 256 labels of validation, fewer than samples = 500",
        "LossNotDecreasing": "the job recorded less than two windows of num_steps = 10 steps of training",
        "PoorWeightInitialization": "the job recorded 2 steps of training, and patience = 5 are not judged",
        "SaturatedActivation": "nothing was recorded of a tanh or sigmoid layer that matches "
        ".*tanh_input|.*sigmoid_input",
    }
    [none] = judge(short, None, {"ExplodingTensor": {"tensor_regex": "no such"}})
    assert (none.status, none.reason) == (NO_DATA, "nothing that it judges was recorded")


def test_a_rule_that_fails_says_so_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = record(tmp_path, passes=1, steps=2)
    monkeypatch.setattr("tasks.debugger.rules.losses.Overfit.look", lambda *_: 1 / 0)
    [verdict] = judge(trial, None, {"Overfit": {}})
    assert (verdict.status, verdict.reason) == (ERROR, "ZeroDivisionError: division by zero")


def test_every_rule_has_a_fault_planted() -> None:
    assert set(PLANTED) == set(TENSOR_RULES)


def test_parameters_are_awss_and_may_be_strings() -> None:
    assert check({"Overfit": {"ratio_threshold": "0.5", "patience": "3"}}) == {
        "Overfit": {"ratio_threshold": 0.5, "patience": 3}
    }
    for said, meant in {"true": True, "1": True, "Yes": True, "False": False, "0": False, "no": False}.items():
        assert check({"ExplodingTensor": {"only_nan": said}}) == {"ExplodingTensor": {"only_nan": meant}}
    assert check({"SaturatedActivation": {"threshold_tanh_max": "9.4999"}})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"Overfitting": {}}, "no rule 'Overfitting'"),
        ({"Overfit": {"ratio": 1}}, "no parameter 'ratio'; it has start_step, patience, ratio_threshold"),
        ({"Overfit": {"patience": "many"}}, "not of type int"),
        ({"LossNotDecreasing": {"num_steps": "0"}}, "num_steps = '0' makes no sense: give a whole number from 1 up"),
        ({"Overfit": {"patience": -1}}, "patience = -1 makes no sense: give a whole number from 0 up"),
        ({"ExplodingTensor": {"only_nan": "perhaps"}}, "only_nan = 'perhaps' is not of type bool"),
        ({"ExplodingTensor": {"tensor_regex": "("}}, r"tensor_regex = '\(' is not a regular expression"),
        ({"SaturatedActivation": {"threshold_tanh_max": "5"}}, "others cannot be judged afterwards"),
        ({"WeightUpdateRatio": {"epsilon": "1e-9"}}, "no parameter 'epsilon'"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, dict[str, Any]], said: str) -> None:
    with pytest.raises(DebuggerError, match=said):
        check(given)
