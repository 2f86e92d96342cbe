"""Whether an endpoint answers what evaluation found, photo for photo."""

from concurrent.futures import ThreadPoolExecutor

from obstore.exceptions import BaseError
from prefect import get_run_logger, task
from pydantic import BaseModel, ConfigDict, Field

from serving.prediction import Prediction
from serving.predictor import BUSY, ImagePredictor
from tasks.object_store import brief, fetch
from tasks.release.package import SmokeCase
from tasks.retries import RETRIES
from training.errors import DeploymentError, FaultyModelError, PhotoError, RequestError

TOLERANCE = 2e-3
"""How far a probability may differ: other processors round differently."""


class SmokeTest(BaseModel):
    """What an endpoint answered to photos whose answer evaluation knows."""

    model_config = ConfigDict(frozen=True)

    photos: int
    equal: int = Field(description="Photos with the same count as in evaluation.")
    largest_difference: float = Field(description="Of any probability, to evaluation's.")


def read_photos(cases: list[SmokeCase]) -> list[bytes]:
    """The photos of a smoke test, to be read before anything is changed.

    Raises:
        DeploymentError: there is none, or one cannot be read.
    """
    if not cases:
        raise DeploymentError("there is no photo to prove the endpoint with")
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_read, cases))


def _read(case: SmokeCase) -> bytes:
    try:
        return fetch(case.photo)
    except (BaseError, OSError) as error:
        raise DeploymentError(
            f"{case.photo}, which the endpoint is to be proven with, cannot be read: {brief(error)}. Bring it back, or "
            "evaluate the model anew on photos that are there: python -m flows.evaluate"
        ) from error


@task(name="smoke test", task_run_name="smoke test", **RETRIES)
def smoke_test(endpoint_name: str, cases: list[SmokeCase], photos: list[bytes]) -> SmokeTest:
    """Ask the endpoint about the cases' photos; its answers must be evaluation's.

    Raises:
        FaultyModelError: an answer differs, or a photo is refused that evaluation could read.
        DeploymentError: there is no answer, and nothing says that the model is to blame.
    """
    try:
        answers = ImagePredictor(endpoint_name).predict(photos)
    except (RequestError, PhotoError) as error:
        refused = isinstance(error, RequestError) and error.status not in BUSY
        kind = FaultyModelError if refused else DeploymentError
        raise kind(f"endpoint {endpoint_name} does not answer a photo that evaluation did: {error}") from error
    known = {case.photo: case.expected for case in cases}
    result = compare(dict(zip(known, answers, strict=True)), known)
    get_run_logger().info("%d of %d answers equal evaluation's", result.equal, result.photos)
    if result.equal < result.photos or result.largest_difference > TOLERANCE:
        raise FaultyModelError(
            f"endpoint {endpoint_name} answers {result.photos - result.equal} of {result.photos} photos with another "
            f"count than evaluation did; probabilities differ by up to {result.largest_difference:.4f}"
        )
    return result


def compare(answers: dict[str, Prediction], expected: dict[str, Prediction]) -> SmokeTest:
    """How far answers are from those expected; by photo."""
    equal = sum(answer.count == expected[photo].count for photo, answer in answers.items())

    def difference(photo: str) -> float:
        known = expected[photo].probabilities
        return max(abs(share - known[count]) for count, share in answers[photo].probabilities.items())

    return SmokeTest(photos=len(answers), equal=equal, largest_difference=max(map(difference, answers), default=0.0))
