"""Answers that a transform job put elsewhere than expected are found, and never taken for another photo's."""

import json
from pathlib import Path

import obstore
import pytest

from serving.prediction import Prediction
from tasks.nightly.count import _find_answers
from tasks.nightly.misplaced import match_outputs
from tasks.object_store import ensure_bucket, open_store

EXPECTED = {"in/a/1.jpg.out": "one", "in/b/1.jpg.out": "other", "in/b/2.jpg.out": "two"}
ANSWER = json.dumps(Prediction.from_probabilities((1, 2), [0.1, 0.9], "m").to_dict()).encode()


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["a/1.jpg.out", "b/1.jpg.out"], {"a/1.jpg.out": "one", "b/1.jpg.out": "other"}),  # relative to a prefix
        (["deep/in/b/2.jpg.out"], {"deep/in/b/2.jpg.out": "two"}),
        (["2.jpg.out"], {"2.jpg.out": "two"}),
        (["1.jpg.out"], {}),  # it fits two photos
        (["x/2.jpg.out", "y/2.jpg.out"], {}),  # two fit a photo
        (["12.jpg.out", "a/3.jpg.out"], {}),
    ],
)
def test_an_output_is_the_photos_whose_key_ends_alike_and_of_no_two(there: list[str], found: dict[str, str]) -> None:
    assert match_outputs(there, EXPECTED) == found


def test_misplaced_answers_are_found_and_what_lies_there_is_said_otherwise(s3: Path) -> None:
    ensure_bucket("s3://misplaced")
    where = "s3://misplaced/nightly/job/out"
    _, reason = _find_answers(where, EXPECTED)
    assert f"looked for as {where}/in/a/1.jpg.out" in reason
    assert reason.endswith("lies nothing")
    store = open_store(where)
    obstore.put(store, "1.jpg.out", ANSWER)
    answers, reason = _find_answers(where, EXPECTED)
    assert not answers
    assert reason.endswith("lies 1.jpg.out")
    obstore.put(store, "b/2.jpg.out", ANSWER)
    answers, reason = _find_answers(where, EXPECTED)
    assert (answers["two"].count, list(answers), reason) == (2, ["two"], "")
