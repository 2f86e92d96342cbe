"""Whether a model may be deployed: above the floors, and not worse than what serves now."""

from pydantic import BaseModel, ConfigDict, Field

from tasks.evaluation.results import EvaluatedModel
from tasks.release.registry import Status
from tasks.settings import Settings

RMSE_SLACK = 1.02
"""How much larger an RMSE than the deployed model's is let in."""


class Verdict(BaseModel):
    """What the gate says, and why."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    reasons: list[str] = Field(description="Of a refusal, or of letting it in.")
    unsure: bool = Field(False, description="Whether a person is to decide, since nothing speaks against it or for it.")

    @property
    def text(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)

    def status(self, settings: Settings) -> Status:
        """What the model is registered as."""
        if not self.passed:
            return "Rejected"
        return "PendingManualApproval" if self.unsure or settings.approval == "manual" else "Approved"


def judge(evaluated: EvaluatedModel, archive: str, settings: Settings) -> Verdict:
    """Judge a model by its evaluation.

    Args:
        evaluated: on the test split.
        archive: S3 URI of the model's own archive: a model is not compared with itself.
        settings: the floors, and how much may be lost.
    """
    found = evaluated.evaluation
    against = [
        f"{what} {value:.4f} is {side} {limit:g}, the limit that {setting} sets"
        for what, value, limit, failed, side, setting in (
            ("accuracy", found.accuracy, settings.min_accuracy, found.accuracy < settings.min_accuracy, "below",
             "BINVENTORY_MIN_ACCURACY"),
            ("RMSE", found.rmse, settings.max_rmse, found.rmse > settings.max_rmse, "above", "BINVENTORY_MAX_RMSE"),
            ("calibration error", found.ece, settings.max_ece, found.ece > settings.max_ece, "above",
             "BINVENTORY_MAX_ECE"),
        )
        if failed
    ]  # fmt: skip
    if evaluated.incomparable and not against:
        text = (
            "above the floors, but not compared with the deployed model, so a person decides (`python -m flows.deploy "
            f"--approve WHY` lets it in): {evaluated.incomparable}"
        )
        return Verdict(passed=True, unsure=True, reasons=[text])
    rival = evaluated.comparison
    if rival is None or rival.deployed == archive:
        return Verdict(passed=not against, reasons=against or ["above the floors; nothing else is deployed"])
    accuracy = found.accuracy if rival.own_accuracy is None else rival.own_accuracy
    rmse = found.rmse if rival.own_rmse is None else rival.own_rmse
    low, high = (f"{100 * end:+.1f}" for end in rival.accuracy_gain_interval)
    where = f"on the same {rival.n} photos (difference {100 * rival.accuracy_gain:+.1f} points, 95% {low} to {high})"
    if rival.accuracy_gain < -settings.max_drop:
        against.append(f"accuracy {accuracy:.2%} against {rival.accuracy:.2%} of the deployed model, {where}")
    if rmse > RMSE_SLACK * rival.rmse:
        against.append(f"RMSE {rmse:.3f} against {rival.rmse:.3f} of the deployed model, on the same photos")
    good = f"accuracy {accuracy:.2%} against {rival.accuracy:.2%} of the deployed model, {where}"
    return Verdict(passed=not against, reasons=against or [good])
