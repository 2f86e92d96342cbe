"""The policy that belongs to a model: thresholds stand beside it in the registry, as facts of its package."""

import logging
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from serving.prediction import Prediction
from tasks.nightly.judge import Policy
from tasks.nightly.thresholds import Photo, choose_policy

PREFIX = "judge_"
log = logging.getLogger(__name__)


def policy_facts(policy: Policy) -> dict[str, str]:
    """Return a policy as the registry keeps facts: short texts without braces or quotes."""
    facts = {
        f"{PREFIX}{name}": f"{value:.6g}" if isinstance(value, float) else str(value)
        for name, value in policy.model_dump(exclude={"class_shares"}).items()
        if value is not None
    }
    shares = " ".join(f"{count}:{share:.4f}" for count, share in policy.class_shares.items())
    return facts | ({f"{PREFIX}class_shares": shares} if shares else {})


def policy_of(facts: Mapping[str, str]) -> Policy:
    """Return the policy among a model's facts; the documented default where it has none."""
    found: dict[str, object] = {
        name.removeprefix(PREFIX): text for name, text in facts.items() if name.startswith(PREFIX)
    }
    try:
        if shares := str(found.pop("class_shares", "")):
            pairs = (pair.split(":") for pair in shares.split())
            found["class_shares"] = {int(count): float(share) for count, share in pairs}
        return Policy.model_validate(found)
    except (ValidationError, ValueError) as error:
        log.warning("the model's thresholds are unreadable, so the default ones hold: %s", error)
        return Policy()


def policy_from_validation(
    predictions: Mapping[str, Prediction], counts: Mapping[str, int], target_precision: float = 0.3
) -> Policy:
    """Choose a policy from a model's predictions for validation photos and their true counts, both by photo id.

    Raises:
        DataError: there are too few photos.
    """
    return choose_policy(as_photos(predictions, counts), target_precision)


def as_photos(predictions: Mapping[str, Prediction], counts: Mapping[str, int]) -> Sequence[Photo]:
    """Return the photos whose true count is known, in the order of ids."""
    return [
        (counts[photo], predictions[photo].probabilities, predictions[photo].out_of_range)
        for photo in sorted(predictions)
        if photo in counts
    ]
