"""Answers that a transform job put elsewhere than expected are found, and never taken for another photo's."""

import json
import logging
from functools import partial
from pathlib import Path

import obstore
import pytest

from serving.prediction import Prediction
from tasks.nightly import count
from tasks.nightly.count import _find_answers, folder_of
from tasks.nightly.misplaced import match_outputs
from tasks.nightly.photos import list_objects
from tasks.nightly.plan import Chunk
from tasks.object_store import ensure_bucket, open_store
from tasks.settings import Settings
from tests.nights import photo

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


def test_photos_whose_answers_a_completed_job_misplaced_are_counted(s3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's part is played: the embedded cloud puts answers where they are looked for."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    settings = Settings(bucket="misplaced-night")
    ensure_bucket("s3://bays")
    for name in ("1", "2"):
        obstore.put(open_store("s3://bays"), f"in/{name}.jpg", photo(3))
    photos = list(list_objects("s3://bays/in/"))

    def answer(get: partial[object], create: object) -> None:
        out = open_store(f"{folder_of(get.args[0], 'run', settings)}/out")
        for name in ("1", "2"):
            obstore.put(out, f"elsewhere/{name}.jpg.out", ANSWER)

    monkeypatch.setattr(count, "find_or_create", answer)
    monkeypatch.setattr(count, "follow", lambda *_: None)
    chunk, logger = Chunk(number=1, large=False, copied=False, photos=photos), logging.getLogger(__name__)
    found = count.count_by_jobs(chunk, "model", "run", 1, settings, logger)
    assert {each.photo: found[each.photo].status for each in photos} == {each.photo: "counted" for each in photos}
