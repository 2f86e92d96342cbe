"""The figures of an evaluation, on answers whose figures are known."""

import math

import numpy as np
import pytest
import torch
from prefect.logging import disable_run_logger

from serving.prediction import Prediction
from tasks.evaluation.calibration import calibration_error, fit_calibration
from tasks.evaluation.evaluate import chosen_policy
from tasks.evaluation.intervals import interval, resampled_means
from tasks.evaluation.measure import measure
from tasks.evaluation.triage import area_under_curve, measure_triage
from tasks.nightly.judge import Policy
from tasks.nightly.policy import policy_facts, policy_of
from tests.tasks.evaluation.looks import looked, model, noisy
from training.errors import ModelError

CLASSES = (1, 2, 3, 4, 5)


def rows(*shares: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(shares)


def test_the_figures_of_four_photos() -> None:
    raw = rows(
        (0.8, 0.1, 0.1, 0.0, 0.0),  # holds 1: right
        (0.0, 0.4, 0.1, 0.3, 0.2),  # holds 3: said 2, but 3.3 is expected
        (0.0, 0.0, 0.0, 0.1, 0.9),  # holds 5: right
        (0.7, 0.1, 0.1, 0.1, 0.0),  # holds 4: said 1
    )
    found = measure(looked([1, 3, 5, 4], raw), model())
    assert found.accuracy == 0.5
    assert found.rmse == pytest.approx(math.sqrt((0 + 1 + 0 + 9) / 4))
    assert found.rmse_expected == pytest.approx(math.sqrt((0 + 0 + 0 + 4) / 4))
    assert found.mae == 1.0
    assert found.within_one == 0.75
    assert found.loss == pytest.approx(-np.log([0.8, 0.1, 0.9, 0.1]).mean(), rel=1e-5)
    assert found.per_class == {1: 1.0, 3: 0.0, 4: 0.0, 5: 1.0}
    assert found.confusion[3] == [1, 0, 0, 0, 0]
    assert sum(map(sum, found.confusion)) == found.n == 4
    assert found.out_of_range is None
    with pytest.raises(ModelError, match="could be measured"):
        measure(looked([9], raw[:1]), model())


def test_bins_out_of_range_are_measured_apart_and_change_no_other_figure() -> None:
    counts, inside = noisy(200)
    raw = torch.cat([inside * 0.9, torch.full((200, 2), 0.05)], dim=1)[:, [5, 0, 1, 2, 3, 4, 6]]
    beyond = rows(
        (0.0, 0.1, 0.1, 0.0, 0.0, 0.0, 0.8),  # holds 7: flagged
        (0.9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0),  # holds 0: flagged
        (0.0, 0.0, 0.0, 0.0, 0.3, 0.7, 0.0),  # holds 7: called a five
    )
    with_extra = model(extra=(0, 6))
    found = measure(looked([*counts, 7, 0, 7], torch.cat([raw, beyond])), with_extra)
    alone = measure(looked(counts, raw), with_extra)
    assert found.model_dump(exclude={"out_of_range"}) == alone.model_dump(exclude={"out_of_range"})
    assert found.out_of_range is not None
    assert found.out_of_range.n == 3
    assert found.out_of_range.flagged == pytest.approx(2 / 3)
    assert found.out_of_range.flagged_by_count == {0: 1.0, 7: 0.5}
    assert found.out_of_range.false_alarms == 0.0
    assert found.out_of_range.auc == pytest.approx(2 / 3)


def test_a_temperature_undoes_overconfidence() -> None:
    counts, sure = noisy(3000, sharpness=3.0)
    positions = torch.tensor(counts) - 1
    temperature, tilt = fit_calibration(sure, positions)
    assert temperature == pytest.approx(3.0, rel=0.1)
    assert tilt == pytest.approx(0.0, abs=0.05)
    before = measure(looked(counts, sure), model())
    after = measure(looked(counts, sure), model(temperature=temperature))
    assert after.accuracy == before.accuracy
    assert after.loss < before.loss == after.loss_before
    assert after.ece < 0.03 < 0.1 < after.ece_before
    assert fit_calibration(sure[:0], positions[:0]) == (1.0, 0.0)


def test_a_tilt_undoes_that_a_model_says_too_little_and_shows_what_is_expected() -> None:
    counts, honest = noisy(3000)
    low = honest * torch.exp(-0.4 * torch.arange(5.0))
    low /= low.sum(dim=1, keepdim=True)
    temperature, tilt = fit_calibration(low, torch.tensor(counts) - 1)
    assert temperature == pytest.approx(1.0, rel=0.1)
    assert tilt == pytest.approx(0.4, abs=0.06)
    before, after = (measure(looked(counts, low), model(tilt=value)) for value in (0.0, tilt))
    assert after.accuracy > before.accuracy
    assert after.rmse_expected < before.rmse_expected
    assert after.ece < before.ece
    assert abs(fit_calibration(low[:5], torch.tensor(counts[:5]) - 1)[1]) < 0.4, "five photos tell little"


def test_a_tilt_leaves_alone_whether_a_count_is_beyond_the_range() -> None:
    counts, inside = noisy(100)
    raw = torch.cat([inside * 0.7, torch.full((100, 2), 0.15)], dim=1)[:, [5, 0, 1, 2, 3, 4, 6]]
    straight, steep = (looked(counts, raw).predictions(model(extra=(0, 6), tilt=tilt)) for tilt in (0.0, 0.5))
    assert [each.out_of_range for each in steep.values()] == [each.out_of_range for each in straight.values()]
    assert all(steep[photo].expected_value > each.expected_value for photo, each in straight.items())


def test_the_calibration_error_is_the_mean_gap() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    right = np.array([True, True, True, False, False, False])
    assert calibration_error(confidence, right) == pytest.approx((4 * 0.15 + 2 * 0.5) / 6)


def test_intervals_are_wider_when_photos_of_a_bin_are_alike() -> None:
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 200), 2).astype(float)[:, None]
    alone = interval(resampled_means(values, [str(place) for place in range(400)])[:, 0])
    bins = interval(resampled_means(values, [str(place // 2) for place in range(400)])[:, 0])
    assert alone[0] < values.mean() < alone[1]
    assert bins[1] - bins[0] > 1.25 * (alone[1] - alone[0])


def test_planted_errors_are_ranked_as_the_night_ranks_them() -> None:
    certain = torch.eye(5).repeat(200, 1)
    counts = ([1, 2, 3, 4, 5]) * 200
    answers = list(looked(counts, certain).predictions(model()).values())
    found = measure_triage(answers, counts, Policy())
    assert found is not None
    assert (found.photos, found.planted, found.auc) == (1000, 50, 1.0)
    assert found.precision_at == {10: 1.0, 20: 1.0, 50: 1.0, 100: 0.5}
    assert found.lift_at[50] == pytest.approx(20)
    assert found.big_in_top_tenth == 1.0

    clueless = list(looked(counts, torch.full((1000, 5), 0.2)).predictions(model()).values())
    chance = measure_triage(clueless, counts, Policy())
    assert chance is not None
    assert chance.auc < 0.75  # a record at the edge of the range is a little likelier to be wrong by more
    assert measure_triage(answers[:5], counts[:5], Policy()) is None


def test_bins_beyond_the_range_are_among_the_planted_only_where_something_is_said_about_them() -> None:
    counts = [1, 2, 3, 4, 5, 9] * 100
    answers = []
    for count in counts:
        shares = [0.2 if count > 5 else 0.01 + 0.95 * (n == count) for n in CLASSES]
        answers.append(Prediction.from_probabilities(CLASSES, shares, "m", 0.9 if count > 5 else 0.01))
    abstaining, judging = (measure_triage(answers, counts, Policy(beyond_share=share)) for share in (0.0, 1 / 6))
    assert abstaining is not None
    assert judging is not None
    assert (abstaining.photos, judging.photos) == (500, 600)


def test_the_area_under_the_curve_counts_ties_as_halves() -> None:
    assert area_under_curve(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True])) == 0.875
    assert area_under_curve(np.array([0.5, 0.5]), np.array([True, False])) == 0.5
    assert area_under_curve(np.array([0.5, 0.5]), np.array([True, True])) == 0.5


@pytest.mark.parametrize("copies", [30, 10])
def test_an_evaluation_carries_the_policy_that_validation_chose_if_it_was_enough(copies: int) -> None:
    counts = list(CLASSES) * copies
    valid = looked(counts, torch.full((len(counts), 5), 0.05) + 0.75 * torch.eye(5).repeat(copies, 1))
    with disable_run_logger():
        policy = chosen_policy(valid, model())
    if copies == 10:  # 50 photos
        assert policy is None
        return
    assert policy is not None
    assert "150 validation photos" in policy.chosen_on
    assert policy_of(policy_facts(policy)).mismatch_from == pytest.approx(policy.mismatch_from, rel=1e-3)
