"""Verdicts, ranking and thresholds, on probabilities made up so that the truth is known."""

import math
import random

import pytest

from tasks.nightly.judge import Policy, Sighting, judge, posterior
from tasks.nightly.policy import policy_facts, policy_of
from tasks.nightly.thresholds import Ranked, choose_policy, plant_errors, precision_at, rank
from training.errors import DataError

CLASSES = (1, 2, 3, 4, 5)
POLICY = Policy()


def shares(**given: float) -> dict[int, float]:
    """Probabilities like ``c3=0.7``; what is left is spread evenly."""
    named = {int(name[1:]): share for name, share in given.items()}
    rest = (1 - sum(named.values())) / (len(CLASSES) - len(named))
    return {count: named.get(count, rest) for count in CLASSES}


def guesser(
    photos: int, seed: int, sharpness: float = 1.0, beyond: bool = False
) -> list[tuple[int, dict[int, float], float]]:
    """A perfectly calibrated model: the true count of each photo is drawn from its own probabilities.

    With ``beyond`` bins hold up to nine, of which it says only that they are beyond five.
    """
    rng = random.Random(seed)
    counts = range(1, 10) if beyond else CLASSES
    found = []
    for _ in range(photos):
        centre = rng.uniform(1, max(counts))
        weights = {count: math.exp(-sharpness * (count - centre) ** 2) for count in counts}
        inside = sum(weights[count] for count in CLASSES)
        probabilities = {count: weights[count] / inside for count in CLASSES}
        truth = rng.choices(list(weights), list(weights.values()))[0]
        found.append((truth, probabilities, 1 - inside / sum(weights.values())))
    return found


def test_a_photo_that_says_nothing_leaves_the_record_as_it_was_believed() -> None:
    offsets = posterior(Sighting(3, dict.fromkeys(CLASSES, 0.2), 1 / 3), Policy(record_error_rate=0.05))
    assert 1 - offsets[0] == pytest.approx(0.05, abs=0.02)
    assert sum(offsets.values()) == pytest.approx(1)


def test_a_sure_photo_confirms_or_contradicts() -> None:
    assert judge(Sighting(3, shares(c3=0.95)), POLICY).verdict == "match"
    contradicted = judge(Sighting(5, shares(c3=0.96)), POLICY)
    assert contradicted.verdict == "mismatch"
    assert contradicted.size == pytest.approx(2, abs=0.3)
    assert contradicted.score == pytest.approx((contradicted.mismatch or 0) * (contradicted.size or 0), abs=1e-5)


def test_a_slight_preference_for_another_count_does_not_overrule_the_record() -> None:
    undecided = judge(Sighting(3, shares(c3=0.3, c4=0.4)), POLICY)
    assert undecided.verdict != "mismatch"
    assert undecided.mismatch is not None
    assert undecided.mismatch < 0.15


def test_the_less_the_photo_shows_what_is_expected_the_likelier_the_mismatch() -> None:
    mismatches = [judge(Sighting(2, shares(c2=p)), POLICY).mismatch or 0 for p in (0.9, 0.5, 0.2, 0.05, 0.001)]
    assert mismatches == sorted(mismatches)


def test_of_two_equal_mismatches_the_larger_one_ranks_first() -> None:
    one_off = judge(Sighting(4, shares(c3=0.9)), POLICY)
    three_off = judge(Sighting(5, shares(c2=0.9)), POLICY)
    assert (three_off.score or 0) > (one_off.score or 0)


@pytest.mark.parametrize("expected", [0, 6, 250])
def test_a_record_beyond_the_range_is_abstained_from(expected: int) -> None:
    judged = judge(Sighting(expected, shares(c5=0.9)), POLICY)
    assert (judged.verdict, judged.mismatch) == ("uncertain", None)
    assert f"{expected} is beyond the model's 1-5" in (judged.reason or "")


def test_a_photo_beyond_the_range_is_abstained_from_however_sure_the_rest() -> None:
    judged = judge(Sighting(2, shares(c5=0.95), out_of_range=0.8), POLICY)
    assert judged.verdict == "uncertain"
    assert "than the model can count" in (judged.reason or "")
    assert (judged.score or 0) > 0.3  # still ranked: somebody may want to look


LEARNED_BEYOND = Policy(beyond_share=0.25)


@pytest.mark.parametrize("expected", [0, 6, 7, 250])
def test_a_record_beyond_the_range_is_contradicted_by_a_photo_in_it_but_never_confirmed(expected: int) -> None:
    contradicted = judge(Sighting(expected, shares(c2=0.98), out_of_range=0.001), LEARNED_BEYOND)
    assert contradicted.verdict == "mismatch"
    assert 1 < (contradicted.size or 0) <= 3  # a record of 250 is not a hundred times as wrong as one of seven
    consistent = judge(Sighting(expected, shares(), out_of_range=0.99), LEARNED_BEYOND)
    assert consistent.verdict == "uncertain"
    assert f"the record's {expected} is beyond the model's 1-5" in (consistent.reason or "")
    assert consistent.score is None  # it speaks for every count beyond the range alike: nobody has to look


@pytest.mark.parametrize("expected", [1, 2, 3])
def test_a_full_bin_contradicts_a_small_record_by_several_objects(expected: int) -> None:
    judged = judge(Sighting(expected, shares(), out_of_range=0.999), LEARNED_BEYOND)
    assert judged.verdict == "mismatch"
    assert (judged.size or 0) > 2.5


def test_a_record_in_range_is_contradicted_by_a_photo_beyond_it() -> None:
    mismatches = [
        judge(Sighting(3, shares(c3=0.4), out_of_range=beyond), LEARNED_BEYOND).mismatch or 0
        for beyond in (0.05, 0.5, 0.9, 0.99)
    ]
    assert mismatches == sorted(mismatches)
    assert judge(Sighting(3, shares(c3=0.4), out_of_range=0.99), LEARNED_BEYOND).verdict == "mismatch"
    doubtful = judge(Sighting(5, shares(c5=0.9), out_of_range=0.6), LEARNED_BEYOND)
    assert doubtful.verdict == "uncertain"
    assert "than the model can count" in (doubtful.reason or "")


def test_an_earlier_photo_is_no_witness_of_fewer_objects_than_none() -> None:
    now = Sighting(3, shares(c3=0.3, c1=0.4), out_of_range=0.05)
    none_before = Sighting(0, shares(), out_of_range=0.95)  # the record cannot have been two too many then
    assert (judge(now, LEARNED_BEYOND, [none_before]).mismatch or 0) < (judge(now, LEARNED_BEYOND).mismatch or 0)


def test_no_record_no_verdict() -> None:
    assert judge(None, POLICY).verdict == "uncertain"
    assert judge(None, POLICY).score is None


def test_an_earlier_photo_of_the_bin_is_a_second_witness() -> None:
    now = Sighting(3, shares(c4=0.55, c3=0.15))
    alone = judge(now, POLICY).mismatch or 0
    before_also_one_more = Sighting(4, shares(c5=0.8))  # one was picked since; the offset is the same
    before_as_recorded = Sighting(4, shares(c4=0.8))
    assert (judge(now, POLICY, [before_also_one_more]).mismatch or 0) > 1.5 * alone
    assert (judge(now, POLICY, [before_as_recorded]).mismatch or 0) < 0.7 * alone
    beyond = Sighting(9, shares(c5=0.8), 0.7)  # says nothing about offsets
    assert judge(now, POLICY, [beyond]).mismatch == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("beyond", [False, True])
def test_a_calibrated_model_gives_calibrated_mismatches(beyond: bool) -> None:
    photos = guesser(20_000, seed=1, beyond=beyond)
    record = plant_errors([count for count, _, _ in photos], 0.05, 2, () if beyond else CLASSES)
    share = sum(photo[2] for photo in photos) / len(photos)
    judged = [
        photo for photo in rank(photos, record, Policy(record_error_rate=0.05, beyond_share=share)) if photo.score
    ]
    for low, high in ((0.0, 0.05), (0.05, 0.15), (0.15, 0.4), (0.4, 1.0)):
        bucket = [photo for photo in judged if low <= photo.mismatch < high]
        said = sum(photo.mismatch for photo in bucket) / len(bucket)
        really = sum(photo.off_by > 0 for photo in bucket) / len(bucket)
        assert really == pytest.approx(said, abs=0.4 * said + 0.01), (low, len(bucket))


def test_the_ranking_finds_many_times_more_errors_than_random_checks_would_and_large_ones_first() -> None:
    first: list[Ranked] = []
    rest: list[Ranked] = []
    for seed in range(5):
        photos = guesser(2000, seed)
        ranked = rank(photos, plant_errors([count for count, _, _ in photos], 0.05, seed, CLASSES), POLICY)
        first += ranked[:50]
        rest += ranked[50:]
    assert precision_at(first, len(first)) > 10 * 0.05
    assert _mean_size(first) > 1.3 * _mean_size(rest)


def _mean_size(ranked: list[Ranked]) -> float:
    wrong = [photo.off_by for photo in ranked if photo.off_by]
    return sum(wrong) / len(wrong)


def test_planted_errors_are_as_many_as_asked_in_range_and_the_same_again() -> None:
    counts = [1, 2, 3, 4, 5] * 200
    record = plant_errors(counts, 0.05, 7, CLASSES)
    off = [abs(a - b) for a, b in zip(counts, record, strict=True)]
    assert sum(d > 0 for d in off) == 50
    assert max(off) <= 3
    assert set(record) <= set(CLASSES)
    assert record == plant_errors(counts, 0.05, 7, CLASSES) != plant_errors(counts, 0.05, 8, CLASSES)


def test_what_is_wrong_about_a_bin_is_so_in_all_its_photos() -> None:
    counts, bins = [1, 2, 5, 3, 3, 4] * 100, [f"{bay} {bin}" for bay in range(100) for bin in "aaabbc"]
    record = plant_errors(counts, 0.05, 7, bins=bins)
    off: dict[str, set[int]] = {}
    for name, count, said in zip(bins, counts, record, strict=True):
        off.setdefault(name, set()).add(said - count)
    assert all(len(found) == 1 for found in off.values())
    assert sum(found != {0} for found in off.values()) == 15
    assert min(record) >= 0
    ranges = plant_errors(counts, 0.5, 7, CLASSES, bins)
    assert set(ranges) <= set(CLASSES)


@pytest.mark.parametrize("target", [0.2, 0.5])
def test_the_chosen_threshold_keeps_its_precision_on_photos_it_was_not_chosen_on(target: float) -> None:
    policy = choose_policy(guesser(3000, seed=3, sharpness=1.5), target)
    assert policy.precision is not None
    assert policy.precision >= target
    fresh = guesser(8000, seed=4, sharpness=1.5)
    flagged = []
    for turn in range(5):
        record = plant_errors([count for count, _, _ in fresh], 0.05, 100 + turn, CLASSES)
        flagged += [photo for photo in rank(fresh, record, policy) if photo.mismatch >= policy.mismatch_from]
    assert precision_at(flagged, len(flagged)) == pytest.approx(target, abs=0.3 * target)
    assert policy.match_below <= policy.mismatch_from
    assert Policy.model_validate_json(policy.model_dump_json()) == policy


def test_a_stricter_target_flags_fewer() -> None:
    photos = guesser(2000, seed=5, sharpness=1.5)
    mild, strict = choose_policy(photos, 0.15), choose_policy(photos, 0.6)
    assert strict.mismatch_from > mild.mismatch_from
    assert (strict.recall or 0) < (mild.recall or 0)


def test_thresholds_of_a_model_that_learned_beyond_its_range_are_chosen_on_all_photos() -> None:
    photos = guesser(2000, seed=8, beyond=True)
    policy = choose_policy(photos)
    assert policy.beyond_share == pytest.approx(sum(outside for _, _, outside in photos) / 2000)
    blind = [(count, shares, 0.2) for count, shares, _ in photos]
    assert choose_policy(blind).beyond_share == 0.0  # it says nothing of what is beyond, whatever that number is
    assert "2000 validation photos" in policy.chosen_on
    assert sum(policy.class_shares.values()) == pytest.approx(1)
    assert policy_of(policy_facts(policy)).beyond_share == pytest.approx(policy.beyond_share, rel=1e-3)


def test_precision_and_recall_are_of_what_is_really_flagged() -> None:
    photos = guesser(400, seed=9, sharpness=0.3)
    full = [(count, shares(**{f"c{count}": 0.99}), 0.9) for count, _, _ in guesser(200, seed=10)]  # what nobody flags
    policy = choose_policy([*((*photo[:2], 0.1) for photo in photos), *full])
    assert policy.beyond_share == 0.0
    judged = []
    for turn in range(20):  # as `choose_policy` plants them
        found = [*((*photo[:2], 0.1) for photo in photos), *full]
        record = plant_errors([photo[0] for photo in found], 0.05, turn, CLASSES)
        for (count, probabilities, outside), expected in zip(found, record, strict=True):
            judged.append((judge(Sighting(expected, probabilities, outside), policy).verdict, count != expected))
    flagged = [wrong for verdict, wrong in judged if verdict == "mismatch"]
    assert policy.precision == pytest.approx(sum(flagged) / len(flagged), rel=0.02)  # thresholds are rounded
    assert policy.recall == pytest.approx(sum(flagged) / sum(wrong for _, wrong in judged), rel=0.02)


def test_too_few_photos_choose_nothing() -> None:
    with pytest.raises(DataError, match="too few"):
        choose_policy(guesser(50, seed=6))
